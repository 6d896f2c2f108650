"""One direction of one layer as a node of PyTorch's graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xrnn.interop.torch_weights import CELLS, gradients_to_torch
from xrnn.ops.recurrence import Inputs, Trace
from xrnn.torch import original
from xrnn.torch.direction import Direction
from xrnn.torch.weights import Views, storage_of, view
from xrnn.typing import Array


def recurrence(direction: Direction, x: Tensor, initial: Sequence[Tensor], weights: Sequence[Tensor]) -> Any:
    """x (T, N, D), initial states (1, N, H) each or none → h (T, N, H), final states (1, N, H) each."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *initial, *weights)):
        return _Recurrence.apply(direction, len(initial), x, *initial, *weights)
    with direction.memory.entered():
        return _results(direction, _forward(direction, direction.views, x, initial, training=False))


class _Recurrence(torch.autograd.Function):
    """Saved as tensors, so that PyTorch refuses what was changed since, and its hooks see all that is kept."""

    @staticmethod
    def forward(ctx: Any, direction: Direction, states: int, x: Tensor, *rest: Tensor) -> Any:
        initial = rest[:states]
        memory = direction.memory
        with memory.entered():
            trace = _forward(direction, direction.views, x, initial, training=True)
            results = _results(direction, trace)
            kept = [memory.tensor(array) for array in (*trace.states, trace.z) if array is not None]
        ctx.direction, ctx.states = direction, states
        # h lies in the first of what is kept: whoever changes the result changes that, and PyTorch then refuses.
        ctx.save_for_backward(x, *rest, results[0], *kept)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, dh: Tensor | None, *dfinal: Tensor | None) -> Any:
        direction: Direction = ctx.direction
        count = len(ctx.needs_input_grad) - 3  # states and weights
        x, *tensors = ctx.saved_tensors
        initial, weights, kept = tensors[: ctx.states], tensors[ctx.states : count], tensors[count + 1 :]
        if torch.is_grad_enabled():  # the gradient is to be differentiated again
            gradients = original.gradients(direction, x, initial, weights, (dh, *dfinal), ctx.needs_input_grad[2:])
            return None, None, *gradients
        with direction.memory.entered():
            return None, None, *_backward(direction, x, initial, weights, kept, dh, dfinal)


def _forward(d: Direction, views: Views, x: Tensor, initial: Sequence[Tensor], training: bool) -> Trace:
    cell = CELLS[d.mode]
    return d.memory.backend.recurrence_forward(cell, _inputs(d, views, x, initial), training)


def _inputs(d: Direction, views: Views, x: Tensor, initial: Sequence[Tensor]) -> Inputs:
    cell, memory = CELLS[d.mode], d.memory
    return Inputs(
        x=memory.array(x),
        Wx=views.Wx,
        Wh=views.Wh,
        b=views.bias(memory.backend.xp, cell),
        initial=[memory.array(state)[0] for state in initial] if initial else (None,) * len(cell.states),
        lengths=None if d.lengths is None else memory.backend.asarray(d.lengths.numpy()),
        reverse=d.reverse,
    )


def _results(d: Direction, trace: Trace) -> tuple[Tensor, ...]:
    h = trace.states[0][:-1] if d.reverse else trace.states[0][1:]
    # The final states are copies, as in PyTorch: a change of one result is none of the other.
    last = slice(0, 1) if d.reverse else slice(-1, None)
    return d.memory.tensor(h), *(d.memory.tensor(state[last].copy()) for state in trace.states)


def _backward(
    d: Direction,
    x: Tensor,
    initial: Sequence[Tensor],
    weights: Sequence[Tensor],
    kept: Sequence[Tensor],
    dh: Tensor | None,
    dfinal: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients of x, the initial states and the weights, in this order."""
    cell, memory = CELLS[d.mode], d.memory
    xp, array = memory.backend.xp, memory.array
    storage = storage_of(weights)
    # A hook on saved tensors may have put copies in their place.
    views = d.views if storage == d.views.storage else view(memory, weights, storage)
    inputs = _inputs(d, views, x, initial)
    arrays = [array(t) for t in kept]
    states = len(cell.states)
    trace = Trace(inputs, arrays[:states], z=arrays[states] if len(arrays) > states else None)
    grads = [xp.empty(p.shape, p.dtype) for p in (inputs.Wx, inputs.Wh, inputs.b)]
    dx, dinitial = memory.backend.recurrence_backward(cell, trace, _dstates(d, trace, dh, dfinal), grads)
    dweights = gradients_to_torch(xp, cell, *grads)[: len(weights)]
    return [memory.tensor(g) for g in (dx, *(g[None] for g in dinitial[: len(initial)]), *dweights)]


def _dstates(d: Direction, trace: Trace, dh: Tensor | None, dfinal: Sequence[Tensor | None]) -> list[Array | None]:
    """The gradients of all states of all steps, None for zeros; the final ones are those of the last step taken."""
    xp, array = d.memory.backend.xp, d.memory.array
    shape, dtype = (len(trace.inputs.x), *trace.states[0].shape[1:]), trace.states[0].dtype
    gradients = [None if dh is None else array(dh), *[None] * (len(dfinal) - 1)]
    for k, last in enumerate(dfinal):
        if last is not None:
            above = gradients[k]
            whole = xp.zeros(shape, dtype) if above is None else xp.array(above)
            whole[0 if d.reverse else -1] += array(last)[0]
            gradients[k] = whole
    if gradients[0] is None:
        gradients[0] = xp.zeros(shape, dtype)
    return gradients
