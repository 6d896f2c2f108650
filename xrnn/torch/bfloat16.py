"""Calls in bfloat16: under autocast, and of modules whose parameters are bfloat16.

The kernels compute in float32, with products in bfloat16. The dtypes of results and gradients are PyTorch's: PyTorch
converts them, and differentiates its conversions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from xrnn.exchange.torch_weights import CELLS
from xrnn.precision import is_chosen_in_block, precision, use_precision
from xrnn.torch.unsupported import Unsupported, check_tensor
from xrnn.torch.weights import mode_of, weights_of

_PYTORCHS: Final[dict[str, Any]] = {"RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
_CELLS: Final[dict[str, Any]] = {
    "RNN_TANH": nn.RNNCell,
    "RNN_RELU": nn.RNNCell,
    "LSTM": nn.LSTMCell,
    "GRU": nn.GRUCell,
}
_CASTED: Final = {torch.float32, torch.bfloat16}


def under_autocast(
    call: Callable[..., Any], original: Callable[..., Any], module: Any, input: Any, states: list[Tensor]
) -> Any:
    """`call(module, input, states)` as under autocast to bfloat16."""
    x = _checked(input, states)
    dtypes = {tensor.dtype for tensor in (x, *states)}
    if not (dtypes <= _CASTED or dtypes == {torch.float64}) or len({state.dtype for state in states}) > 1:
        raise Unsupported(f"autocast is on, and the input and the states are {_named(dtypes)}")
    layers = () if isinstance(module, nn.RNNCellBase) else (module.num_layers > 1, module.bidirectional)
    # PyTorch runs a packed sequence of equal lengths as one that is not packed.
    ragged = isinstance(input, PackedSequence) and bool(input.batch_sizes[0] != input.batch_sizes[-1])
    mode = mode_of(module)
    state_dtypes = [state.dtype for state in states[:1]]
    kind = (_PYTORCHS if layers else _CELLS).get(mode, type(module))
    found = _result_dtypes(kind, original, mode, layers, ragged, weights_of(module)[0].dtype, x.dtype, *state_dtypes)
    if found is None:
        raise Unsupported(f"autocast is on, and PyTorch refuses the weights with {_named(dtypes)}")
    with torch.autocast("cpu", enabled=False):
        return _converted(module, _run(call, module, input, x, states), *found)


def in_bfloat16(call: Callable[..., Any], module: Any, input: Any, states: list[Tensor]) -> Any:
    """`call(module, input, states)` of a module whose parameters, input and states are bfloat16."""
    x = _checked(input, states)
    dtypes = {tensor.dtype for tensor in (x, *states, *weights_of(module))}
    if dtypes != {torch.bfloat16}:
        raise Unsupported(f"the input, the states and the weights are {_named(dtypes)}")
    return _converted(module, _run(call, module, input, x, states), torch.bfloat16, torch.bfloat16)


def precision_in_use() -> tuple[str, str]:
    """The name of the precision of such calls, and what decided it: a block of `use_precision` has precedence."""
    return (precision().name, precision().decided_by) if is_chosen_in_block() else ("bfloat16", "PyTorch")


def _checked(input: Any, states: list[Tensor]) -> Tensor:
    """The tensor of the input."""
    x: Tensor = input.data if isinstance(input, PackedSequence) else input
    for tensor in (x, *states):
        check_tensor("the input or an initial state", tensor)
    return x


def _named(dtypes: set[torch.dtype]) -> str:
    return ", ".join(sorted(map(str, dtypes)))


def _run(call: Callable[..., Any], module: Any, input: Any, x: Tensor, states: list[Tensor]) -> Any:
    """The results in float32, or in float64 if the operands have it."""
    if x.dtype is not torch.float64:
        x = x.float()
        states = [state.float() for state in states]
    name: Any = precision_in_use()[0]
    with use_precision(name):
        return call(module, input._replace(data=x) if isinstance(input, PackedSequence) else x, states, convert=True)


def _converted(module: Any, results: Any, dtype: torch.dtype, state_dtype: torch.dtype) -> Any:
    """h and the final states of a module in these dtypes, or the states of a cell in the second."""
    if isinstance(module, nn.RNNCellBase):
        return _to(results, state_dtype)
    h, final = results
    h = h._replace(data=h.data.to(dtype)) if isinstance(h, PackedSequence) else h.to(dtype)
    return h, _to(final, state_dtype)


def _to(states: Any, dtype: torch.dtype) -> Any:
    return tuple(state.to(dtype) for state in states) if isinstance(states, tuple) else states.to(dtype)


def lacks_lstm(error: RuntimeError) -> bool:
    """Whether PyTorch failed since oneDNN has no LSTM in bfloat16 for this CPU, as without AVX-512.

    It does so for float32 input under autocast. On other CPUs, all results of such a call are bfloat16.
    """
    return "could not create a primitive descriptor for the LSTM" in str(error)


@functools.cache
def _result_dtypes(
    kind: type[Any],
    original: Callable[..., Any],
    mode: str,
    layers: tuple[bool, bool] | tuple[()],
    ragged: bool,
    weight_dtype: torch.dtype,
    x_dtype: torch.dtype,
    state_dtype: torch.dtype | None = None,
) -> tuple[torch.dtype, torch.dtype] | None:
    """The dtypes of h and of the final states; None if PyTorch refuses the operands.

    layers   whether the module has several layers, and both directions; () for a cell

    PyTorch documents no rule, so a module with one unit is run to see.
    """
    options: dict[str, Any] = {"nonlinearity": mode[4:].lower()} if kind in (nn.RNN, nn.RNNCell) else {}
    count = (1 + layers[0]) * (1 + layers[1]) if layers else 1
    if layers:
        options |= {"num_layers": 1 + layers[0], "bidirectional": layers[1]}
    # On "meta" first: initial weights would be drawn from the program's random numbers.
    tiny = kind(1, 1, device="meta", dtype=weight_dtype, **options).to_empty(device="cpu")
    # Two steps: PyTorch runs a single packed step in another way. The program may have set another default device.
    x: Any = torch.zeros((2, 2, 1) if layers else (2, 1), dtype=x_dtype, device="cpu")
    if ragged:
        x = pack_padded_sequence(x, [2, 1])
    hx: Any = None
    if state_dtype is not None:
        cell = CELLS[mode]
        each = torch.zeros((count, 2, cell.components) if layers else (2, 1), dtype=state_dtype, device="cpu")
        hx = (each,) * len(cell.states) if len(cell.states) > 1 else each
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found = original(tiny, x, hx)
    except RuntimeError as error:
        return (torch.bfloat16, torch.bfloat16) if lacks_lstm(error) else None
    h, final = found if layers else (found, found)
    dtype = final[0].dtype if isinstance(final, tuple) else final.dtype
    return ((h.data if ragged else h).dtype if layers else dtype), dtype
