"""The loop over time: the recurrent product and a cell's step, forward and backward side by side.

Each takes a chunk of steps, whose operands are a `Step` with an axis of steps in front; z and dz as the products have
them, (steps, N, pre · H).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from xrnn.ops.cell import Cell, Run, Step
from xrnn.typing import Array


def forward_steps(run: Run, cell: Cell, chunk: Step, idle: Array | None, *, backwards: bool) -> None:
    """z[t] += h[t-1] @ Wh, and a step of the cell. Rows that are idle keep their states."""
    xp, W, matmul_add, H = run.xp, run.W, run.matmul_add, run.W.shape[0]
    if cell.pointwise and idle is None:
        activate, h = cell.activate, chunk.before[0][-1 if backwards else 0]
        for h_next in each(chunk.after[0], backwards=backwards):
            matmul_add(h, W, h_next)
            activate(xp, h_next)
            h = h_next
        return

    at = Step(None, (), (), None)
    operands = blocks(chunk.z, H), chunk.before, chunk.after, chunk.kept, chunk.z[..., _columns(cell, H)], idle
    for at.z, at.before, at.after, at.kept, z_t, idle_t in each(operands, backwards=backwards):
        if cell.recurs:
            cell.recur(run, at)
        else:
            matmul_add(at.before[0], W, z_t)
        cell.step(run, at)
        if idle_t is not None:
            _copy(xp, at.before, at.after, idle_t)


def gradient_steps(
    run: Run,
    cell: Cell,
    chunk: Step,
    given: Sequence[Array | None],
    dz: Array,
    dafter: list[Array],
    idle: Array | None,
    backwards: bool,
) -> list[Array]:
    """dz[t], and what arrives at the states before: by dz[t] @ Whᵀ and past z. A row that is idle passes it on.

    given    the gradients of the results, (steps, N, H) a state, None for zeros
    dafter   what arrives at the states after the chunk from later steps (N, H) → the same for the states before it
    """
    xp, W, matmul_add, H = run.xp, run.W, run.matmul_add, run.W.shape[1]
    if cell.pointwise and idle is None:
        return [_pointwise_gradient_steps(run, cell, chunk.after[0], given[0], dz, dafter[0], backwards)]

    at = Step(blocks(chunk.z, H), chunk.before, chunk.after, chunk.kept)
    dz_blocks = blocks(dz, H)
    cell.prepare(run, at, dz_blocks)
    dbefore = [xp.empty_like(d) for d in dafter]
    operands = at.z, at.before, at.after, at.kept, at.prepared, given, dz_blocks, dz[..., _columns(cell, H)], idle
    for at.z, at.before, at.after, at.kept, at.prepared, given_t, dz_t, dz_of_h, idle_t in each(
        operands, backwards=backwards
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
        elif cell.direct:
            matmul_add(dz_of_h, W, dbefore[0])
        else:
            xp.matmul(dz_of_h, W, out=dbefore[0])
        if passed_on is not None:
            _copy(xp, passed_on, dbefore, idle_t)
        dafter, dbefore = dbefore, dafter
    return dafter


def _pointwise_gradient_steps(
    run: Run, cell: Cell, h_after: Array, given: Any, dz: Array, dafter: Array, backwards: bool
) -> Array:
    """dz[t] = (dh[t] + dz[t+1] @ Whᵀ) · φ'(z[t]): dz begins as dh, and each step adds to the next one's."""
    xp, W, matmul_add = run.xp, run.W, run.matmul_add
    slope = xp.empty_like(dz)
    cell.slope(xp, h_after, slope)
    dz[...] = given
    dz[-1 if backwards else 0] += dafter
    dbefore: Array = xp.zeros_like(dafter)
    next_in_line = itertools.chain(itertools.islice(each(dz, backwards=backwards), 1, None), [dbefore])
    for dz_t, slope_t, d in zip(
        each(dz, backwards=backwards), each(slope, backwards=backwards), next_in_line, strict=True
    ):
        dz_t *= slope_t
        matmul_add(dz_t, W, d)
    return dbefore


def blocks(z: Any, H: int) -> Any:
    """(steps, N, blocks · H) as (steps, blocks, N, H); None stays None."""
    if z is None:
        return None
    steps, N, width = z.shape
    return z.reshape(steps, N, width // H, H).swapaxes(1, 2)


def cut(operand: Any, steps: slice) -> Any:
    """These steps of an array, or of each array in a sequence; None stays None."""
    if operand is None:
        return None
    return [cut(part, steps) for part in operand] if isinstance(operand, list | tuple) else operand[steps]


def each(operand: Any, *, backwards: bool) -> Iterator[Any]:
    """The steps one by one: of an array, or side by side of all that a sequence holds; None yields None."""
    if operand is None:
        return itertools.repeat(None)
    if isinstance(operand, (list, tuple)):
        return zip(*[each(part, backwards=backwards) for part in operand], strict=False)
    return iter(operand[::-1] if backwards else operand)


def _columns(cell: Cell, H: int) -> slice:
    """The columns of z that h @ Wh feeds."""
    return slice(cell.from_h[0] * H, (cell.from_h[-1] + 1) * H)


def _copy(xp: Any, sources: Sequence[Array], targets: Sequence[Array], where: Any) -> None:
    for source, target in zip(sources, targets, strict=True):
        xp.copyto(target, source, where=where)
