"""The recurrence of every cell, forward and backward side by side, on any array namespace.

A cell says what one step is (`cell.py`). Here is what all cells share: the input's product, taken for many steps at
once before the loop over time; direction and lengths; the weight gradients after the loop. The loop is in `steps.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from xrnn.ops.cell import Cell, MatmulAdd, Run, Step
from xrnn.ops.random import Draws
from xrnn.ops.steps import blocks, cut, forward_steps, gradient_steps
from xrnn.typing import Array

# Elements of z that are computed at once: 4 MB in float32. It bounds what inference needs beyond its result. A training
# forward takes the same chunks, so that both give the same bits.
CHUNK: Final = 2**20


# Not frozen: a frozen dataclass of nine fields takes 0.6 µs longer to make, a quarter of a small layer's step.
@dataclass(slots=True, eq=False)
class Inputs:
    """What a recurrence is computed from."""

    x: Array  # (T, N, D)
    Wx: Array  # (D, parts · H), a part for each block in cell.from_x
    Wh: Array  # (H, parts · H), a part for each block in cell.from_h
    b: Array  # (pre · H,), a part for each block in cell.from_b
    initial: Sequence[Array | None]  # (N, H) a state, None for zeros
    lengths: Array | None = None  # (N,) integers in [0, T], None where every row has all T steps
    reverse: bool = False  # from the last step to the first
    own: Sequence[Array] = ()  # the cell's own parameters
    draws: Draws | None = None


@dataclass(slots=True, eq=False)
class Trace:
    """What every form of the forward recurrence gives, so that any form of the backward one accepts it.

    The initial state lies in slot 0 of a state, the state after step t in slot t + 1; with `reverse`, in slot T and in
    slot t. What a row holds in `z` and `kept` past its length is not defined.
    """

    inputs: Inputs
    states: Sequence[Array]  # (T+1, N, H) a state, C-contiguous
    z: Array | None = None  # (T, N, pre · H), C-contiguous, as `step` left it: in training, where `cell.keeps_z`
    kept: Array | None = None  # (T, kept, N, H), C-contiguous: in training, where `cell.kept`

    def around(self, steps: slice) -> tuple[list[Array], list[Array]]:
        """The states before each of these steps, and after each, (steps, N, H) a state."""
        early = [s[steps] for s in self.states]
        late = [s[steps.start + 1 : steps.stop + 1] for s in self.states]
        return (late, early) if self.inputs.reverse else (early, late)

    @property
    def final(self) -> list[Array]:
        """The states after the last step taken, (N, H) a state."""
        return [s[0 if self.inputs.reverse else -1] for s in self.states]


def forward(xp: Any, matmul_add: MatmulAdd, cell: Cell, inputs: Inputs, training: bool) -> Trace:
    """z[t] = x[t] @ Wx + h[t-1] @ Wh + b, and from each z[t] a step of the cell. Only `training` keeps z and kept."""
    idle = _idle(xp, inputs)
    x = _masked(xp, inputs, idle)
    run = Run(
        xp=xp,
        matmul_add=matmul_add,
        W=xp.ascontiguousarray(inputs.Wh),
        params=inputs.own,
        training=training,
        constants=cell.constants(xp, inputs.x.dtype),
        draws=inputs.draws,
    )
    trace = _allocate(xp, cell, inputs, training)
    chunks = _chunks(cell, inputs)
    scratch_z, scratch_kept = _scratch(xp, cell, trace, chunks)
    for steps in chunks:
        before, after = trace.around(steps)
        z = after[0] if cell.pointwise else _place(trace.z, scratch_z, steps)
        kept = _place(trace.kept, scratch_kept, steps)
        _project(xp, cell, inputs, x[steps], z)
        chunk = Step(z, before, after, kept)
        forward_steps(run, cell, chunk, cut(idle, steps), backwards=inputs.reverse)
    return trace


def backward(
    xp: Any, matmul_add: MatmulAdd, cell: Cell, trace: Trace, dstates: Sequence[Array | None], grads: Sequence[Array]
) -> tuple[Array, tuple[Array, ...]]:
    """The gradients of ⟨dstates, states after each step⟩.

    dstates (T, N, H) a state, None for zeros → dx (T, N, D), dinitial (N, H) a state. `grads`, in the order of the
    parameters, are overwritten.
    """
    for dparam in grads[3:]:
        dparam[...] = 0
    dz, dinitial = through_time(xp, matmul_add, cell, trace, dstates, grads[3:])
    return products(xp, cell, trace, dz, grads), dinitial


def through_time(
    xp: Any,
    matmul_add: MatmulAdd,
    cell: Cell,
    trace: Trace,
    dstates: Sequence[Array | None],
    dparams: Sequence[Array] = (),
) -> tuple[Array, tuple[Array, ...]]:
    """dz[t] from what arrives at step t: from above, dstates[t], and from step t + 1, by dz[t+1] @ Whᵀ and past z.

    → dz (T, N, pre · H), dinitial. The gradients of the cell's own parameters are added to `dparams`.
    """
    inputs = trace.inputs
    (T, N, _), H, dtype = inputs.x.shape, inputs.Wh.shape[0], inputs.x.dtype
    idle = _idle(xp, inputs)
    run = Run(
        xp=xp,
        matmul_add=matmul_add,
        W=xp.ascontiguousarray(inputs.Wh.T),
        params=inputs.own,
        dparams=dparams,
        training=True,
        draws=inputs.draws,
    )
    dz = xp.empty((T, N, cell.pre * H), dtype)
    dstate = [xp.zeros((N, H), dtype) for _ in cell.states]  # what arrives at the states after the step at hand
    for steps in reversed(_chunks(cell, inputs)):
        chunk = Step(cut(trace.z, steps), *trace.around(steps), cut(trace.kept, steps))
        given = cut(dstates, steps)
        dstate = gradient_steps(run, cell, chunk, given, dz[steps], dstate, cut(idle, steps), not inputs.reverse)
    return dz, tuple(dstate)


def products(xp: Any, cell: Cell, trace: Trace, dz: Array, grads: Sequence[Array]) -> Array:
    """dWx = Σ x[t]ᵀ @ dz[t], dWh = Σ h[t-1]ᵀ @ dz[t], db = Σ dz[t], overwritten; dx[t] = dz[t] @ Wxᵀ, returned.

    One product each, over all steps.
    """
    inputs, (dWx, dWh, db) = trace.inputs, grads[:3]
    (T, N, D), H = inputs.x.shape, inputs.Wh.shape[0]
    before, after = trace.around(slice(0, T))
    from_x, from_h = _segments(cell.from_x, H), _segments(cell.from_h, H)
    rows = dz.reshape(T * N, cell.pre * H)

    _transposed_product(xp, _masked(xp, inputs, _idle(xp, inputs)).reshape(T * N, D), rows, from_x, dWx)
    if cell.recurs:
        at = Step(blocks(trace.z, H), before, after, trace.kept)
        cell.recur_weights(xp, at, blocks(dz, H), dWh)
    else:
        _transposed_product(xp, before[0].reshape(T * N, H), rows, from_h, dWh)
    for part, block in _segments(cell.from_b, H):
        xp.sum(rows[:, block], axis=0, out=db[part])

    (part, block), *others = from_x
    dx: Array = xp.matmul(rows[:, block], inputs.Wx[:, part].T)
    for part, block in others:
        dx += rows[:, block] @ inputs.Wx[:, part].T
    return dx.reshape(T, N, D)


# ---- before the loop ----


def _idle(xp: Any, inputs: Inputs) -> Array | None:
    """Where a row is past its length, (T, N, 1) bool; None where none ever is."""
    if inputs.lengths is None:
        return None
    idle: Array = xp.arange(len(inputs.x))[:, None] >= inputs.lengths
    return idle[..., None]


def _masked(xp: Any, inputs: Inputs, idle: Array | None) -> Array:
    """x with zeros past each row's length, so that nothing there is read."""
    masked: Array = inputs.x if idle is None else xp.where(idle, inputs.x.dtype.type(0), inputs.x)
    return masked


def _allocate(xp: Any, cell: Cell, inputs: Inputs, training: bool) -> Trace:
    """A trace that holds the initial states so far."""
    (T, N, _), H, dtype = inputs.x.shape, inputs.Wh.shape[0], inputs.x.dtype
    trace = Trace(inputs, [xp.empty((T + 1, N, H), dtype) for _ in cell.states])
    for state, initial in zip(trace.states, inputs.initial, strict=True):
        state[-1 if inputs.reverse else 0] = 0 if initial is None else initial
    if training and cell.keeps_z:
        trace.z = xp.empty((T, N, cell.pre * H), dtype)
    if training and cell.kept:
        trace.kept = xp.empty((T, cell.kept, N, H), dtype)
    return trace


def _scratch(xp: Any, cell: Cell, trace: Trace, chunks: Sequence[slice]) -> tuple[Array | None, Array | None]:
    """Room for the z and kept of a chunk, as far as the trace has none: one for all chunks."""
    _, N, H = trace.states[0].shape
    length, dtype = max((steps.stop - steps.start for steps in chunks), default=0), trace.states[0].dtype
    z = xp.empty((length, N, cell.pre * H), dtype) if trace.z is None and not cell.pointwise else None
    return z, xp.empty((length, cell.kept, N, H), dtype) if cell.kept and trace.kept is None else None


def _place(stored: Array | None, scratch: Array | None, steps: slice) -> Any:
    """Where these steps of an operand go: into the trace, or into scratch."""
    return cut(stored, steps) if scratch is None else scratch[: steps.stop - steps.start]


def _chunks(cell: Cell, inputs: Inputs) -> list[slice]:
    """The steps in chunks, in the order of the run."""
    T, N, _ = inputs.x.shape
    length = max(CHUNK // max(N * cell.pre * inputs.Wh.shape[0], 1), 1)
    if T and length >= T:
        return [slice(0, T)]
    chunks = [slice(start, min(start + length, T)) for start in range(0, T, length)]
    return chunks[::-1] if inputs.reverse else chunks


def _project(xp: Any, cell: Cell, inputs: Inputs, x: Array, z: Array) -> None:
    """z = x @ Wx + b.   x (steps, N, D), z (steps, N, pre · H)."""
    H, rows = inputs.Wh.shape[0], z.shape[0] * z.shape[1]
    x, z = x.reshape(rows, x.shape[2]), z.reshape(rows, z.shape[2])
    for part, block in _segments(cell.from_x, H):
        _product(xp, x, inputs.Wx[:, part], z[:, block])
    if len(cell.from_x) < cell.pre:
        for _, block in _segments(cell.from_b[len(cell.from_x) :], H):
            z[:, block] = 0
    for part, block in _segments(cell.from_b, H):
        fed = z[:, block]
        fed += inputs.b[part]


# ---- parts and blocks ----


def _transposed_product(xp: Any, left: Array, dz: Array, segments: Sequence[tuple[slice, slice]], dW: Array) -> None:
    """dW = leftᵀ @ dz, part by part."""
    for part, block in segments:
        _product(xp, left.T, dz[:, block], dW[:, part])


def _product(xp: Any, a: Array, b: Array, out: Array) -> None:
    """out = a @ b, also where `out` is a part of the columns of a matrix, which CuPy's product doesn't write into."""
    if out.flags.c_contiguous:
        xp.matmul(a, b, out=out)
    else:
        out[...] = xp.matmul(a, b)


@functools.lru_cache(maxsize=256)  # a short step would spend more here than in its products
def _segments(blocks: tuple[int, ...], H: int) -> list[tuple[slice, slice]]:
    """(columns of the weights, columns of z) for each run of parts that feed neighbouring blocks of z."""
    runs: list[list[int]] = []  # first part, first block, how many
    for part, block in enumerate(blocks):
        if runs and block == runs[-1][1] + runs[-1][2]:
            runs[-1][2] += 1
        else:
            runs.append([part, block, 1])
    return [(slice(p * H, (p + n) * H), slice(b * H, (b + n) * H)) for p, b, n in runs]
