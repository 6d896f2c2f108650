"""A call of a recurrent module, on the kernels or in PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import _VF, Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from xrnn.exchange.torch_weights import CELLS
from xrnn.torch.bfloat16 import in_bfloat16, under_autocast
from xrnn.torch.direction import Direction
from xrnn.torch.fallbacks import run_original
from xrnn.torch.joined import side_by_side, stacked
from xrnn.torch.recurrence import recurrence, refuse_memory, untrainable
from xrnn.torch.unsupported import Slower, Unsupported, casts, check_mode, check_tensor, dynamo_callback, in_dynamo
from xrnn.torch.weights import INFERENCE, are_bfloat16, directions_of, in_float32, mode_of, weights_of

# A replaced forward has other globals, even if functools.wraps gave it the name and module of the original.
_FORWARDS: Final[list[Any]] = [kind.forward for kind in (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)]
PYTORCH_FORWARDS: Final = {f for f in _FORWARDS if getattr(f, "__globals__", None) is vars(nn.modules.rnn)}


@functools.cache
def _uncompiled() -> Any:
    """A function that calls another one without torch.compile, which would translate NumPy code into PyTorch's."""
    return torch.compiler.disable(lambda function, *arguments: function(*arguments))


def run(module: Any, original: Callable[..., Any], input: Any, hx: Any) -> Any:
    """Run `module` on the kernels, or by PyTorch's forward, `original`, if the kernels do not support the call.

    Invalid calls run in `original` too, so that it raises its own errors.
    """
    # Unless `allow_rnn` is set, torch.compile leaves recurrent modules out of its graphs; PyTorch 2.15 still compiles
    # what they call.
    is_cell = isinstance(module, nn.RNNCellBase)
    if in_dynamo() and not is_cell and not torch.compiler.is_exporting() and not torch._dynamo.config.allow_rnn:
        return torch.compiler.disable(run)(module, original, input, hx)
    try:
        check_mode()
        if original not in PYTORCH_FORWARDS:
            raise Unsupported("its forward was replaced")
        packed = isinstance(input, PackedSequence)
        call: Callable[..., Any] = _one_step if is_cell else _packed if packed else _padded
        states = _given(module, hx)
        if casts():
            call = functools.partial(under_autocast, call, original)
        elif getattr(input.data if packed else input, "dtype", None) is torch.bfloat16:
            call = functools.partial(in_bfloat16, call)
        if dynamo_callback() is not None:
            return _uncompiled()(call, module, input, states)
        return call(module, input, states)
    except Unsupported as found:
        why = found.with_traceback(None)  # the traceback refers to this frame: the cycle would keep the input in memory
    except MemoryError as error:
        refuse_memory(mode_of(module), error)
    # Outside the `except` block, so that an error from PyTorch does not have Unsupported as its context.
    return run_original(original, why, module, input, hx)


def _given(module: Any, hx: Any) -> list[Any]:
    """The initial states as a list: empty if none are given, or one for each state of the cell."""
    if hx is None:
        return []
    states = CELLS[mode_of(module)].states
    if len(states) == 1:
        return [hx]
    if not isinstance(hx, tuple | list) or len(hx) != len(states):
        raise Unsupported(f"the initial states are not a tuple of {len(states)}")
    return list(hx)


def _one_step(cell: Any, x: Tensor, states: list[Tensor], convert: bool = False) -> Any:
    """A step of nn.RNNCell, LSTMCell or GRUCell: x (N, D), or unbatched (D,).   `convert` as in `_layers`."""
    check_tensor("the input", x)
    unbatched = x.dim() == 1
    if x.dim() not in (1, 2):
        raise Unsupported(f"the input has {x.dim()} dimensions")
    shape = (cell.hidden_size,) if unbatched else (len(x), cell.hidden_size)
    for state in states:
        check_tensor("a state", state, x)
        if state.shape != shape:
            raise Unsupported(f"a state is {tuple(state.shape)}")
    if unbatched:
        x = x.unsqueeze(0)
        states = [state.unsqueeze(0) for state in states]
    _, final = _layers(cell, x.unsqueeze(0), [state.unsqueeze(0) for state in states], None, convert)
    after = [state[0, 0] if unbatched else state[0] for state in final]
    return after[0] if len(after) == 1 else tuple(after)


def _padded(module: Any, x: Tensor, states: list[Tensor], convert: bool = False) -> Any:
    """x (T, N, D), with batch_first (N, T, D), or unbatched (T, D).   `convert` as in `_layers`."""
    check_tensor("the input", x)
    if x.dim() == 2:
        x = x.unsqueeze(1)
        states = _checked_states(module, x, states, unbatched=True)
        h, final = _layers(module, x, states, None, convert)
        return h.squeeze(1), _returned(module, [state.squeeze(1) for state in final])
    if x.dim() != 3:
        raise Unsupported(f"the input has {x.dim()} dimensions")
    if module.batch_first:
        x = x.transpose(0, 1)
    h, final = _layers(module, x, _checked_states(module, x, states), None, convert)
    return h.transpose(0, 1) if module.batch_first else h, _returned(module, final)


def _packed(module: Any, packed: PackedSequence, states: list[Tensor], convert: bool = False) -> Any:
    data, sizes, order, back = packed
    check_tensor("the input", data)
    if data.dim() != 2:
        raise Unsupported(f"the packed input has {data.dim()} dimensions")
    rows = sizes.tolist()  # the number of running rows in each step, in descending order
    lengths = None
    if rows[0] == rows[-1] and len(rows) * rows[0] == len(data):  # equal lengths, as for one sequence: packed is padded
        x = data.reshape(len(rows), rows[0], -1)
    else:
        x, lengths = _Padded.apply(data, sizes)
    states = _checked_states(module, x, states)
    if order is not None:
        states = [state.index_select(1, order) for state in states]
    h, final = _layers(module, x, states, lengths, convert)
    if lengths is None:
        h = h.reshape(len(data), -1)
    else:
        h, _ = _VF._pack_padded_sequence(h, lengths, False)
    if back is not None:
        final = [state.index_select(1, back) for state in final]
    return PackedSequence(h, sizes, order, back), _returned(module, final)


class _Padded(torch.autograd.Function):
    """data (rows of all steps, D), sizes (T,) → x (T, N, D), zero past the length of a row, and lengths (N,).

    The gradient of PyTorch's operation is a graph of slices and additions, one for each step; this one is a selection.
    """

    @staticmethod
    def forward(ctx: Any, data: Tensor, sizes: Tensor) -> Any:
        ctx.sizes = sizes
        x, lengths = _VF._pad_packed_sequence(data, sizes, False, 0.0, -1)
        ctx.mark_non_differentiable(lengths)
        return x, lengths

    @staticmethod
    def backward(ctx: Any, dx: Tensor, _: None) -> tuple[Tensor, None]:
        running = torch.arange(dx.shape[1], device=ctx.sizes.device) < ctx.sizes[:, None]
        rows = running.flatten().nonzero().squeeze(1).to(dx.device)
        return dx.reshape(-1, dx.shape[2]).index_select(0, rows), None


def _checked_states(module: Any, x: Tensor, states: list[Tensor], unbatched: bool = False) -> list[Tensor]:
    """The initial states, (layers · directions, N, H) each.   Raises Unsupported for other shapes or tensors."""
    if not states:
        return states
    count = module.num_layers * (2 if module.bidirectional else 1)
    width = module.hidden_size * CELLS[module.mode].components
    shape = (count, width) if unbatched else (count, x.shape[1], width)
    for state in states:
        check_tensor("an initial state", state, x)
        if state.shape != shape:
            raise Unsupported(f"an initial state is {tuple(state.shape)}")
    return [state.unsqueeze(1) for state in states] if unbatched else states


def _layers(
    module: Any, x: Tensor, states: list[Tensor], lengths: Tensor | None, convert: bool
) -> tuple[Tensor, list[Tensor]]:
    """x (T, N, D), states (layers · directions, N, H) → h (T, N, directions · H), final states of the same shape.

    convert   weights in bfloat16 are converted to float32, which x has
    """
    if not x.numel() or x.shape[2] != module.input_size:
        raise Unsupported(f"the input is {tuple(x.shape)}")
    weights = weights_of(module)
    if not convert and lengths is None and INFERENCE not in module.__dict__:
        _check_repays_packing(module, x, weights)
    if convert and are_bfloat16(weights):
        weights, each = in_float32(module, weights, x)
    else:
        each = directions_of(module, weights, x)
    if each[0].frozen is not None and torch.is_grad_enabled():
        with torch.no_grad():
            h, final = _each_layer(module, each, x, states, lengths, weights)
        return untrainable(each[0].mode, [h, *final], [x, *states, *weights])
    return _each_layer(module, each, x, states, lengths, weights)


# PyTorch's weights are the transposes of xrnn's. In inference with up to four rows in all steps together, and fewer
# than four in a step, the kernels read them in place. For more they copy x's weights to another order in each call, and
# in training all weights for the backward pass. For a few steps this takes longer than PyTorch's products. Measured on
# two cores at D and H from 256 to 1024: the kernels are as fast for weights of 2 MiB from 12 steps of one row on, and
# from 6 steps of three rows; in training from 2 steps on. PyTorch's own LSTM reorders the weights for inference too.
_WIDE: Final = 2 << 20
_FEW_ROWS: Final = 4


def _check_repays_packing(module: Any, x: Tensor, weights: list[Tensor]) -> None:
    """Raises Slower for a few steps of few rows with wide weights, unless the weights are frozen."""
    T, N, _ = x.shape
    if T >= 12 or N > _FEW_ROWS or weights[0].nbytes + weights[1].nbytes < _WIDE or x.device.type != "cpu":
        return
    if mode_of(module) not in ("RNN_TANH", "RNN_RELU", "GRU"):
        return
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights))
    in_place = T * N <= _FEW_ROWS and N < _FEW_ROWS
    if T < 2 if trains else not in_place and (T < 6 or N == 1):
        raise Slower("few steps of wide weights are faster there; accelerate(model, freeze=True) is for inference")


def _each_layer(
    module: Any,
    each: list[Direction],
    x: Tensor,
    states: list[Tensor],
    lengths: Tensor | None,
    weights: list[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """`_layers` with these directions."""
    if len(each) == 1:
        h, *final = recurrence(each[0], x, lengths, states, weights)
        return h, final
    count = 2 if module.bidirectional else 1
    width = len(weights) // len(each)
    finals = []
    for first in range(0, len(each), count):
        results: list[Tensor] = []
        for k in range(first, first + count):
            initial = [state[k : k + 1] for state in states]
            own = weights[k * width : (k + 1) * width]
            h, *final = recurrence(each[k], x, lengths, initial, own)
            results.append(h)
            finals.append(final)
        x = results[0] if count == 1 else side_by_side(each[first].memory, *results)
        if module.dropout and module.training and first + count < len(each):
            x = nn.functional.dropout(x, module.dropout)
    return x, [stacked(each[0].memory, of_state) for of_state in zip(*finals, strict=True)]


def _returned(module: Any, final: list[Tensor]) -> Any:
    return tuple(final) if len(final) > 1 else final[0]
