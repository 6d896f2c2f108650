"""One direction of one layer as a node of PyTorch's graph."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import is_not
from typing import Any, NoReturn

import torch
from torch import Tensor

from xrnn.exchange.torch_weights import bias_gradients, transposed
from xrnn.ops.heads import hidden_size
from xrnn.ops.inputs import Inputs, Trace
from xrnn.precision import precision, use_precision
from xrnn.torch import pytorch_operations
from xrnn.torch.direction import Direction
from xrnn.torch.fallbacks import count
from xrnn.torch.unsupported import Unsupported, check_gradients
from xrnn.typing import Array


def recurrence(
    direction: Direction, x: Tensor, lengths: Tensor | None, initial: Sequence[Tensor], weights: Sequence[Tensor]
) -> Any:
    """x (T, N, D), initial states (1, N, H) each or none → h (T, N, H), final states (1, N, H) each.

    lengths   (N,) int64 on the CPU, in descending order; None if all rows have T steps
    """
    if torch.is_grad_enabled():
        tensors = (x, *initial, *weights)
        for tensor in tensors:
            if tensor.requires_grad:
                return _Recurrence.apply(direction, lengths, len(initial), *tensors)
    with direction.memory.entered():
        return _results(direction, _forward(direction, x, lengths, initial, training=False))


class _Recurrence(torch.autograd.Function):
    """save_for_backward keeps the tensors, so that PyTorch notices in-place changes and runs hooks on saved tensors."""

    @staticmethod
    def forward(ctx: Any, direction: Direction, lengths: Tensor | None, states: int, x: Tensor, *others: Tensor) -> Any:
        tensor = direction.memory.tensor
        with direction.memory.entered():
            trace = _forward(direction, x, lengths, others[:states], training=True)
            results = _results(direction, trace)
            kept = [tensor(array) for array in trace.states]
            if trace.z is not None:
                kept.append(tensor(trace.z))
        ctx.direction = direction
        ctx.lengths = lengths
        ctx.states = states
        ctx.weights = others[states:]
        ctx.precision = precision().name
        ctx.leaf = (x, trace.inputs.x) if x.is_leaf else (None, None)
        # The result h is a view of kept[0]. It is saved so that PyTorch refuses `backward` if the caller changes it.
        ctx.save_for_backward(x, *others, results[0], *kept)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, dh: Tensor | None, *dfinal: Tensor | None) -> Any:
        needed = ctx.needs_input_grad[3:]
        x, *saved = ctx.saved_tensors
        states = ctx.states
        others = len(needed) - 1
        direction = ctx.direction
        initial, weights, kept = saved[:states], saved[states:others], saved[others + 1 :]
        # The gradients need the values that the weights had in the forward. `weight.data = …` changes a saved weight,
        # but not direction.tensors. If a hook on saved tensors replaced a weight, the hook's tensor is used. The same
        # holds for x: `leaf_array` has the values of a leaf in the forward.
        values = weights if any(map(is_not, weights, ctx.weights)) else direction.tensors
        leaf, leaf_array = ctx.leaf
        try:
            check_gradients((dh, *dfinal))
        except Unsupported as why:
            count(direction.reasons, f"{direction.mode}: the gradient", why)
            if x is leaf:
                x = pytorch_operations.with_value(x, direction.memory.tensor(leaf_array))
            weights = list(map(pytorch_operations.with_value, weights, values))
            gradients = pytorch_operations.gradients(direction, x, ctx.lengths, initial, weights, (dh, *dfinal), needed)
            return None, None, None, *gradients
        try:
            # `backward` runs after the block of autocast, so the precision of the forward pass is set again here.
            with direction.memory.entered(), _precision(ctx.precision):
                direction = direction.with_weights(values)
                x = leaf_array if x is leaf else direction.memory.array(x)
                found = _backward(direction, x, ctx.lengths, states, kept, dh, dfinal, needed)
        except MemoryError as error:
            refuse_memory(direction.mode, error)
        return None, None, None, *found


def _precision(name: Any) -> AbstractContextManager[None]:
    return nullcontext() if precision().name == name else use_precision(name)


def untrainable(mode: str, results: Sequence[Tensor], operands: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The results of a frozen module, h first, as a part of PyTorch's graph if an operand needs a gradient.

    `backward` then raises RuntimeError: without this node, the module would silently get no gradient.
    """
    if any(operand.requires_grad for operand in operands):
        results = _Untrainable.apply(mode, len(results), *results, *operands)
    h, *final = results
    return h, final


class _Untrainable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mode: str, count: int, *tensors: Tensor) -> Any:
        ctx.mode = mode
        return tuple(result.detach() for result in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> NoReturn:
        raise RuntimeError(
            f"backward of a frozen {ctx.mode}: expected inference only; call xrnn.torch.accelerate(model), without "
            "freeze and int8, before the training"
        )


def refuse_memory(mode: str, error: MemoryError) -> NoReturn:
    """Raises RuntimeError with PyTorch's words, because programs search for them and retry with a smaller batch."""
    raise RuntimeError(
        f"DefaultCPUAllocator: can't allocate memory for {mode} ({error}): use a smaller batch or shorter sequences"
    ) from error


def _forward(d: Direction, x: Tensor, lengths: Tensor | None, initial: Sequence[Tensor], training: bool) -> Trace:
    array = d.memory.array
    inputs = _inputs(d, array(x), d.bias, lengths)
    if initial:
        inputs.initial = [array(state)[0] for state in initial]
    inputs.frozen = d.frozen
    if d.is_int8:
        return Trace(inputs, *d.memory.backend.int8_forward(d.cell, inputs))
    return Trace(inputs, *d.memory.backend.recurrence_forward(d.cell, inputs, training))


def _inputs(d: Direction, x: Array, b: Array, lengths: Tensor | None) -> Inputs:
    inputs = Inputs(x, d.Wx, d.Wh, b, d.initial)
    if lengths is not None:
        inputs.lengths = d.memory.backend.asarray(lengths.numpy())
    inputs.reverse, inputs.own = d.reverse, d.own
    return inputs


def _results(d: Direction, trace: Trace) -> tuple[Tensor, ...]:
    tensor = d.memory.tensor
    # The final states are copies, as in PyTorch: changing one result must not change the other.
    return tensor(trace.states[0][d.after]), *[tensor(state[d.last].copy()) for state in trace.states]


def _backward(
    d: Direction,
    x: Array,
    lengths: Tensor | None,
    initial: int,
    kept: Sequence[Tensor],
    dh: Tensor | None,
    dfinal: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of x, of `initial` initial states, and of the weights.

    If x needs none, its gradient is None and not computed; so are those of the weights if no weight needs one.
    """
    memory = d.memory
    states = len(d.initial)
    xp = memory.backend.xp
    array = memory.array
    tensor = memory.tensor
    needs_dx, needs_dweights = needed[0], needed[1 + initial :]
    # In the layout of PyTorch's weights, so that PyTorch takes these arrays as gradients without a copy.
    of_weights = (*d.arrays[:2], *d.own) if any(needs_dweights) else ()
    dweights = [xp.empty(w.shape, w.dtype) for w in of_weights]
    db = xp.empty(d.cell.pre * hidden_size(d.Wh), d.Wh.dtype)
    # The backward pass does not read b, so db stands in for it. The initial states are in the trace.
    inputs = _inputs(d, x, db, lengths)
    arrays = [array(t) for t in kept]
    trace = Trace(inputs, arrays[:states], arrays[states] if len(arrays) > states else None, None)
    grads = [*map(transposed, dweights[:2]), db, *dweights[2:]] if dweights else None
    dx, dinitial = memory.backend.recurrence_backward(d.cell, trace, _dstates(d, trace, dh, dfinal), grads, needs_dx)
    if dweights and d.biases:
        dweights[2:2] = bias_gradients(xp, d.cell, db)
    # PyTorch copies a gradient if its strides differ from its tensor's, and g[None] would have a stride of 0.
    dstates = [tensor(g.reshape(1, *g.shape)) for g in dinitial[:initial]]
    found = [tensor(g) for g in dweights] or [None] * len(needs_dweights)
    return [tensor(dx) if needs_dx else None, *dstates, *found]


def _dstates(d: Direction, trace: Trace, dh: Tensor | None, dfinal: Sequence[Tensor | None]) -> list[Array | None]:
    """The gradients of all states after each step, None for zeros. Adds those of the final states to the last step."""
    xp = d.memory.backend.xp
    array = d.memory.array
    gradients = [None if dh is None else array(dh), *d.initial[1:]]
    for k, last in enumerate(dfinal):
        if last is not None:
            given = gradients[k]
            total = xp.zeros_like(trace.states[k][d.after]) if given is None else xp.array(given)
            total[0 if d.reverse else -1] += array(last)[0]
            gradients[k] = total
    if gradients[0] is None:
        gradients[0] = xp.zeros_like(trace.states[0][d.after])
    return gradients
