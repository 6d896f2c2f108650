"""Calls under autocast to bfloat16: in float32, with products in bfloat16; results have the dtypes of PyTorch's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from xrnn.exchange.torch_weights import CELLS
from xrnn.precision import use_precision
from xrnn.torch.unsupported import Unsupported, check_tensor

_PYTORCHS: Final[dict[str, Any]] = {"RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
_CASTED: Final = {torch.float32, torch.bfloat16}


def under_autocast(
    call: Callable[..., Any], original: Callable[..., Any], module: Any, input: Any, states: list[Tensor]
) -> Any:
    """`call(module, input, states)` as under autocast. Conversions are operations of PyTorch, with their gradients."""
    packed = isinstance(input, PackedSequence)
    x = input.data if packed else input
    for tensor in (x, *states):
        check_tensor("the input or an initial state", tensor)
    dtypes = {tensor.dtype for tensor in (x, *states)}
    if not (dtypes <= _CASTED or dtypes == {torch.float64}) or len({state.dtype for state in states}) > 1:
        raise Unsupported(f"autocast is on, and the input and the states are {', '.join(sorted(map(str, dtypes)))}")
    # PyTorch runs a packed sequence of equal lengths as one that is not packed.
    ragged = packed and bool(input.batch_sizes[0] != input.batch_sizes[-1])
    kind = _PYTORCHS.get(module.mode, type(module))
    state_dtypes = [state.dtype for state in states[:1]]
    h_dtype, state_dtype = _result_dtypes(
        kind, original, module.mode, module.num_layers > 1, module.bidirectional, ragged, x.dtype, *state_dtypes
    )
    if torch.bfloat16 in dtypes:
        x, states = x.float(), [state.float() for state in states]
    with torch.autocast("cpu", enabled=False), use_precision("bfloat16"):
        h, final = call(module, input._replace(data=x) if packed else x, states)
    h = h._replace(data=h.data.to(h_dtype)) if packed else h.to(h_dtype)
    return h, tuple(each.to(state_dtype) for each in final) if isinstance(final, tuple) else final.to(state_dtype)


@functools.cache
def _result_dtypes(
    kind: type[Any],
    original: Callable[..., Any],
    mode: str,
    deep: bool,
    bidirectional: bool,
    ragged: bool,
    x_dtype: torch.dtype,
    state_dtype: torch.dtype | None = None,
) -> tuple[torch.dtype, torch.dtype]:
    """The dtypes of h and of the final states. PyTorch documents no rule, so a module with one unit is run to see."""
    options = {"nonlinearity": mode[4:].lower()} if kind is nn.RNN else {}
    dtype = torch.float64 if x_dtype is torch.float64 else torch.float32
    # On "meta" first: initial weights would be drawn from the program's random numbers.
    tiny = kind(1, 1, 1 + deep, bidirectional=bidirectional, device="meta", dtype=dtype, **options).to_empty(
        device="cpu"
    )
    # Two steps: PyTorch runs a single packed step in another way. The program may have set another default device.
    x: Any = torch.zeros((2, 2, 1), dtype=x_dtype, device="cpu")
    if ragged:
        x = pack_padded_sequence(x, [2, 1])
    hx: Any = None
    if state_dtype is not None:
        cell = CELLS[mode]
        each = torch.zeros(((1 + deep) * (1 + bidirectional), 2, cell.components), dtype=state_dtype, device="cpu")
        hx = (each,) * len(cell.states) if len(cell.states) > 1 else each
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        h, final = original(tiny, x, hx)
    return (h.data if ragged else h).dtype, (final[0] if isinstance(final, tuple) else final).dtype
