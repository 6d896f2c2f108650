"""The loop over time: the recurrent product and a cell's step, forward and backward side by side.

Each function runs a chunk of steps. Its operands have an axis of steps in front; z and dz are (steps, N, pre · H), the
layout of the products.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.parts import columns, segments
from xrnn.ops.products import Products
from xrnn.typing import Array

_NOTHING: Final = itertools.repeat(None)


def forward_steps(
    run: Run, cell: Cell, states: Sequence[Array], z: Array, kept: Any, idle: Any, *, backwards: bool
) -> None:
    """z[t] += h[t-1] @ Wh, then a step of the cell. Idle rows keep their states.

    states   (steps + 1, N, H) each: before the first step, and after each step
    """
    H = states[0].shape[-1]
    z_of_h = fed_by_h(cell, z, H)
    z = blocks(z, H)
    if len(z) == 1:  # the iterators below take as long to set up as a small step
        slots = [s[0] for s in states], [s[1] for s in states]
        before, after = slots[::-1] if backwards else slots
        at = StepArrays(z[0], before, after, _first(kept))
        _forward_step(run, cell, at, _first(z_of_h), _first(idle))
        return

    at = StepArrays(None, (), (), None)
    operands = in_turn(z, z_of_h, kept, idle, backwards=backwards)
    around = itertools.pairwise(in_turn(*states, backwards=backwards))
    for (at.z, z_of_h_t, at.kept, idle_t), (at.before, at.after) in zip(operands, around, strict=False):
        _forward_step(run, cell, at, z_of_h_t, idle_t)


def _forward_step(run: Run, cell: Cell, at: StepArrays, z_of_h: Any, idle: Any) -> None:
    if cell.recurs:
        cell.recur(run, at)
    elif z_of_h is not None:
        run.products.matmul_add(at.before[0], run.W, z_of_h)
    cell.step(run, at)
    if idle is not None:
        _copy(run.xp, at.before, at.after, idle)


def gradient_steps(
    run: Run,
    cell: Cell,
    chunk: StepArrays,
    given: Sequence[Array | None],
    dz: Array,
    dafter: list[Array],
    idle: Array | None,
    backwards: bool,
) -> list[Array]:
    """Compute dz[t] and the gradients of the states before step t. Those of idle rows stay the same.

    given    the gradients of the results, (steps, N, H) for each state, None for zeros
    dafter   the gradients of the states after the chunk, from later steps, (N, H); overwritten

    → the gradients of the states before the chunk.
    """
    xp = run.xp
    W = run.W
    products = run.products
    H = dafter[0].shape[1]
    at = StepArrays(chunk.z, chunk.before, chunk.after, chunk.kept)
    dz_blocks = blocks(dz, H)
    cell.prepare(run, at, dz_blocks)
    dbefore = [xp.empty_like(d) for d in dafter]
    operands = at.z, at.before, at.after, at.kept, at.prepared, given, dz_blocks, fed_by_h(cell, dz, H), idle
    for at.z, at.before, at.after, at.kept, at.prepared, given_t, dz_t, dz_of_h, idle_t in in_turn(
        *operands, backwards=backwards
    ):
        for d, given_state in zip(dafter, given_t, strict=True):
            if given_state is not None:
                d += given_state
        passed_on = None if idle_t is None else [d.copy() for d in dafter]  # `gradient` may change dafter
        if idle_t is not None and run.dparams:  # an idle row adds nothing to the gradients of the cell's own parameters
            for d in dafter:
                xp.copyto(d, 0, where=idle_t)
        cell.gradient(run, at, dafter, dz_t, dbefore)
        if idle_t is not None:
            xp.copyto(dz_t, 0, where=idle_t)
        if cell.recurs:
            cell.recur_gradient(run, at, dz_t, dbefore[0])
        elif dz_of_h is None:
            if not cell.direct:
                dbefore[0][...] = 0
        elif cell.direct:
            products.matmul_add(dz_of_h, W, dbefore[0])
        else:
            products.dot(dz_of_h, W, dbefore[0])
        if passed_on is not None:
            _copy(xp, passed_on, dbefore, idle_t)
        dafter, dbefore = dbefore, dafter
    return dafter


# ---- a pointwise cell ----


def pointwise_steps(xp: Any, products: Products, cell: Cell, W: Array, h: Array, *, backwards: bool) -> None:
    """h[t] = φ(z[t] + h[t-1] @ Wh).   h (T+1, N, H) holds z[t] in the place of h[t]."""
    if backwards:
        h = h[::-1]
    before = h[0]
    activate = cell.activate
    matmul_add = products.matmul_add
    for t in range(1, len(h)):  # an array's iterator ends by an internal IndexError, which is slow
        after = h[t]
        matmul_add(before, W, after)
        activate(xp, after)
        before = after


def pointwise_gradient_steps(
    xp: Any,
    products: Products,
    cell: Cell,
    WT: Array,
    h: Array,
    dh: Any,
    dz: Array,
    dafter: Array | None,
    *,
    backwards: bool,
) -> Array:
    """dz[t] = (dh[t] + dz[t+1] @ Whᵀ) · φ'(z[t]). At first dz is dh; each step adds its product to the next dz.

    h, dh, dz   (steps, N, H)
    dafter      the gradient of the state after the chunk, from later steps, (N, H), None for zeros

    → the gradient of the state before the chunk.
    """
    slope = xp.empty(dz.shape, dz.dtype)
    cell.slope(xp, h, slope)
    dz[...] = dh
    if backwards:
        dz, slope = dz[::-1], slope[::-1]
    if dafter is not None:
        dz[0] += dafter
    for dz_t, slope_t, next_dz in zip(dz, slope, dz[1:], strict=False):
        dz_t *= slope_t
        products.matmul_add(dz_t, WT, next_dz)
    last = dz[-1]
    last *= slope[-1]
    return products.dot(last, WT)


# ---- operands ----


def blocks(z: Any, H: int) -> Any:
    """(steps, N, blocks · H) as (steps, blocks, N, H); None stays None."""
    if z is None:
        return None
    steps, N, width = z.shape
    if N == 1:
        return z.reshape(steps, width // H, 1, H)
    return z.reshape(steps, N, width // H, H).swapaxes(1, 2)


def cut(operand: Any, steps: slice) -> Any:
    """These steps of an array, or of each array in a sequence; None stays None."""
    if operand is None:
        return None
    if isinstance(operand, (list, tuple)):
        return [cut(part, steps) for part in operand]
    return operand[steps]


def in_turn(*operands: Any, backwards: bool) -> Iterator[Any]:
    """Iterate over the steps of all operands together. An operand is an array, a sequence of arrays, or None."""
    return zip(*[_each(operand, backwards) for operand in operands], strict=False)


def _each(operand: Any, backwards: bool) -> Any:
    if operand is None:
        return _NOTHING
    if isinstance(operand, (list, tuple)):
        return in_turn(*operand, backwards=backwards)
    return operand[::-1] if backwards else operand


def fed_by_h(cell: Cell, z: Array, H: int) -> Any:
    """The columns of z that h @ Wh feeds; None if the driver takes no product with Wh."""
    if cell.recurs or not cell.from_h:
        return None
    ((_, block),) = segments(cell.from_h, cell.pre, H)
    return columns(z, block)


def _first(operand: Any) -> Any:
    return None if operand is None else operand[0]


def _copy(xp: Any, sources: Sequence[Array], targets: Sequence[Array], where: Any) -> None:
    for source, target in zip(sources, targets, strict=True):
        xp.copyto(target, source, where=where)
