"""The recurrence of every cell, forward and backward side by side, on any array namespace.

A cell defines one step (`cell.py`). This file has the parts that all cells share: the product with the inputs, for many
steps at once before the loop over time; direction and lengths; the weight gradients after the loop. `steps.py` has the
loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from xrnn.ops import heads
from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.inputs import Inputs, Trace
from xrnn.ops.int8 import Int8Matrix
from xrnn.ops.parts import ALL, columns, segments
from xrnn.ops.products import Products
from xrnn.ops.random import NO_DRAWS
from xrnn.ops.steps import (
    blocks,
    cut,
    fed_by_h,
    forward_steps,
    gradient_steps,
    pointwise_gradient_steps,
    pointwise_steps,
)
from xrnn.typing import Array, ArrayIfNeeded

# The number of elements of z in a chunk of steps: 4 MB in float32. Chunks limit the memory that inference needs besides
# its result: z, and also x @ Wx if its parts are in another order than the blocks of z. Training uses the same chunks,
# so that both give the same bits.
CHUNK: Final = 2**20


def forward(xp: Any, products: Products, cell: Cell, inputs: Inputs, training: bool) -> Trace:
    """z[t] = x[t] @ Wx + h[t-1] @ Wh + b + add[t], then a step of the cell. Keeps z and kept only in training."""
    T, N, _, H = inputs.sizes()
    W = inputs.Wh
    products = heads.products_with(products, inputs.Wh)
    if T != 1 and not isinstance(W, Int8Matrix):  # for one step the copy takes longer than the product
        W = xp.ascontiguousarray(W)
    if cell.pointwise and inputs.lengths is None:
        trace = _allocate(xp, cell, inputs, T, N, 0, training)
        (h,) = trace.states
        project_input(xp, products.dot, cell, inputs, inputs.x, inputs.add, h[:-1] if inputs.reverse else h[1:])
        pointwise_steps(xp, products, cell, W, h, backwards=inputs.reverse)
        return trace

    length = _steps_at_once(cell, T, N, H)
    idle = _idle(xp, inputs)
    trace = _allocate(xp, cell, inputs, T, N, length, training)
    x, add = (_masked(xp, operand, idle) for operand in (inputs.x, inputs.add))
    run = Run(
        xp=xp,
        products=products,
        W=W,
        params=cell.coefficients(xp, inputs.own),
        training=training,
        constants=cell.constants(xp, inputs.x.dtype),
        draws=inputs.draws or NO_DRAWS,
    )
    for states, x_of_chunk, add_of_chunk, z, kept, idle_of_chunk in _operands(trace, x, add, idle, T, length):
        if cell.pointwise:
            z = states[0][:-1] if inputs.reverse else states[0][1:]
        project_input(xp, products.dot, cell, inputs, x_of_chunk, add_of_chunk, z)
        forward_steps(run, cell, states, z, kept, idle_of_chunk, backwards=inputs.reverse)
    if not training or not cell.keeps_z:
        trace.z = None
    if not training:
        trace.kept = None
    return trace


def backward(
    xp: Any,
    products: Products,
    cell: Cell,
    trace: Trace,
    dstates: Sequence[Array | None],
    grads: Sequence[Array] | None,
    needs_dx: bool = True,
    dadd: Array | None = None,
) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
    """The gradients of Σ dstates · states after each step → dx, dinitial.

    dstates    (T, N, H) for each state, or (N, H) if x is one step; None for zeros
    grads      the gradients of the parameters, in their order, overwritten; None if they are not needed
    dadd       the gradient of `Inputs.add`, overwritten; None if it is not needed
    dx         in the shape of x; None without `needs_dx`
    dinitial   (N, H) for each state
    """
    if trace.inputs.x.ndim == 2:
        dstates = [None if dstate is None else dstate[None] for dstate in dstates]
    dparams = [xp.empty_like(param) for param in trace.inputs.own] if grads is None else grads[3:]
    for dparam in dparams:
        dparam[...] = 0
    coefficients = cell.coefficients(xp, trace.inputs.own)
    dz, dinitial = through_time(xp, products, cell, trace, dstates, dparams, coefficients)
    if dparams:
        cell.params_gradient(xp, trace.inputs.own, coefficients, dparams)
    return from_dz(xp, products, cell, trace, dz, grads, needs_dx, dadd), dinitial


def through_time(
    xp: Any,
    products: Products,
    cell: Cell,
    trace: Trace,
    dstates: Sequence[Array | None],
    dparams: Sequence[Array] = (),
    coefficients: Sequence[Any] = (),
) -> tuple[Array, tuple[Array, ...]]:
    """The loop of the backward pass → dz (T, N, pre · H), dinitial.

    The gradient of the states after step t is dstates[t], plus two parts from step t + 1: dz[t+1] @ Whᵀ, and the part
    that does not pass through z. The gradients of the cell's coefficients are added to `dparams`.
    """
    inputs = trace.inputs
    T, N, _, H = inputs.sizes()
    dtype = inputs.x.dtype
    WhT = heads.transposed(inputs.Wh)
    products = heads.products_with(products, inputs.Wh)
    W = WhT if T == 1 else xp.ascontiguousarray(WhT)  # as in `forward`
    dz = xp.empty((T, N, cell.pre * H), dtype)
    backwards = not inputs.reverse
    chunks = reversed(_chunks(T, _steps_at_once(cell, T, N, H), inputs.reverse))
    if cell.pointwise and inputs.lengths is None:
        dh = None
        for steps in chunks:
            (h,) = trace.after(steps)
            dh_above = cut(dstates[0], steps)
            dh = pointwise_gradient_steps(xp, products, cell, W, h, dh_above, dz[steps], dh, backwards=backwards)
        return dz, (xp.zeros((N, H), dtype) if dh is None else dh,)

    idle = _idle(xp, inputs)
    run = Run(
        xp=xp,
        products=products,
        W=W,
        params=coefficients,
        dparams=dparams,
        training=True,
        draws=inputs.draws or NO_DRAWS,
    )
    dstate = [xp.zeros((N, H), dtype) for _ in cell.states]  # the gradient of the states after the current step
    for steps in chunks:
        z = blocks(cut(trace.z, steps), H)
        kept = cut(trace.kept, steps)
        idle_of_chunk = cut(idle, steps)
        chunk = StepArrays(z, trace.before(steps), trace.after(steps), kept)
        if dparams:
            chunk = _masked_step(xp, chunk, idle_of_chunk)
        given = cut(dstates, steps)
        dstate = gradient_steps(run, cell, chunk, given, dz[steps], dstate, idle_of_chunk, backwards)
    return dz, tuple(dstate)


def from_dz(
    xp: Any,
    products: Products,
    cell: Cell,
    trace: Trace,
    dz: Array,
    grads: Sequence[Array] | None,
    needs_dx: bool = True,
    dadd: Array | None = None,
) -> ArrayIfNeeded:
    """dWx = Σ x[t]ᵀ @ dz[t], dWh = Σ h[t-1]ᵀ @ dz[t], db = Σ dz[t], overwritten; dx[t] = dz[t] @ Wxᵀ, returned.

    One product each, over all steps, and only for the gradients that `backward` needs. dadd = dz, with the parts of b.
    """
    inputs = trace.inputs
    T, N, _, H = inputs.sizes()
    if dadd is not None:
        for part, block in segments(cell.from_b, cell.pre, H):
            dadd[..., part] = dz.reshape(dadd.shape)[..., block]
    if grads is None and not needs_dx:
        return None
    idle = _idle(xp, inputs)
    dz = dz.reshape(T * N, cell.pre * H)
    dz_of_x = _fed_by_x(xp, cell, dz, H)
    if grads is not None:
        _dweights(xp, products, cell, trace, dz, dz_of_x, idle, grads)
    if not needs_dx:
        return None
    dx: Array = products.dot(dz_of_x, inputs.Wx.T).reshape(inputs.x.shape)
    if idle is not None:
        xp.copyto(dx, 0, where=idle)  # if Wx has an infinity, the product is 0 · ∞ = NaN there
    return dx


def _dweights(
    xp: Any,
    products: Products,
    cell: Cell,
    trace: Trace,
    dz: Array,
    dz_of_x: Array,
    idle: Array | None,
    grads: Sequence[Array],
) -> None:
    """Overwrite dWx, dWh, db.   dz (T · N, pre · H); dz_of_x: the blocks that x feeds, in the order of Wx's parts."""
    inputs = trace.inputs
    dWx, dWh, db = grads[:3]
    T, N, D, H = inputs.sizes()
    steps = slice(0, T)
    _weight_gradient(products, _masked(xp, inputs.x, idle).reshape(T * N, D), dz_of_x, dWx)
    if cell.recurs:
        at = StepArrays(blocks(trace.z, H), trace.before(steps), trace.after(steps), trace.kept)
        cell.recur_weights(xp, _masked_step(xp, at, idle), blocks(dz.reshape(T, N, cell.pre * H), H), dWh)
    elif cell.from_h:
        h = _masked(xp, trace.before(steps)[0], idle).reshape(T * N, H)
        of_h = heads.weight_gradient if dWh.ndim == 3 else _weight_gradient
        of_h(products, h, fed_by_h(cell, dz, H), dWh)
    dz_of_x.sum(axis=0, out=db[: len(cell.from_x) * H])
    for part, block in segments(cell.from_b, cell.pre, H, len(cell.from_x)):
        dz[:, block].sum(axis=0, out=db[part])


def _weight_gradient(products: Products, left: Array, dz: Array, dW: Array) -> None:
    """dW = leftᵀ @ dz. If dW is the transpose of a contiguous array: dWᵀ = dzᵀ @ left."""
    if not dW.flags.c_contiguous:
        left, dz, dW = dz, left, dW.T
    if left.flags.c_contiguous and dz.flags.c_contiguous:
        products.dot(left.T, dz, dW)
    else:
        products.matmul(left.T, dz, out=dW)  # `dot` would copy it


# ---- before the loop ----


def _idle(xp: Any, inputs: Inputs) -> Array | None:
    """True where a row is past its length, (T, N, 1); None without lengths."""
    if inputs.lengths is None:
        return None
    idle: Array = xp.arange(len(inputs.x))[:, None] >= inputs.lengths
    return idle[..., None]


def _masked(xp: Any, operand: Any, idle: Any) -> Any:
    """An operand of a product, (T, N, ·), with zeros past each row's length; None stays None.

    dz is 0 there, but that is not enough: 0 · NaN and 0 · ∞ are NaN.
    """
    return operand if operand is None or idle is None else xp.where(idle, operand.dtype.type(0), operand)


def _masked_step(xp: Any, at: StepArrays, idle: Any) -> StepArrays:
    """The same for all arrays of a cell's steps, so that an idle row adds nothing to the gradients of parameters."""
    if idle is None:
        return at
    of_blocks = idle[:, None]
    z, kept = (_masked(xp, array, of_blocks) for array in (at.z, at.kept))
    before, after = ([_masked(xp, state, idle) for state in states] for states in (at.before, at.after))
    return StepArrays(z, before, after, kept)


def _allocate(xp: Any, cell: Cell, inputs: Inputs, T: int, N: int, length: int, training: bool) -> Trace:
    """A trace with the initial states. Arrays that are not kept after the run have room for `length` steps only."""
    H = inputs.hidden_size()
    dtype = inputs.x.dtype
    states = []
    slot = -1 if inputs.reverse else 0
    for initial in inputs.initial:
        state = xp.empty((T + 1, N, H), dtype)
        state[slot] = 0 if initial is None else initial
        states.append(state)
    trace = Trace(inputs, states, None, None)
    if not cell.pointwise:
        trace.z = xp.empty((T if training and cell.keeps_z else length, N, cell.pre * H), dtype)
    if cell.kept:
        trace.kept = xp.empty((T if training else length, cell.kept, N, H), dtype)
    return trace


def _operands(
    trace: Trace, x: Array, add: Array | None, idle: Array | None, T: int, length: int
) -> Iterator[tuple[Any, ...]]:
    """For each chunk of steps, in the order of the run: the states around them, x, add, z, kept and idle."""
    if length == T:  # one chunk, the usual case: making the views below would take as long as a small layer's step
        yield trace.states, x, add, trace.z, trace.kept, idle
        return
    for steps in _chunks(T, length, trace.inputs.reverse):
        around = slice(steps.start, steps.stop + 1)
        z, kept = _place(trace.z, steps), _place(trace.kept, steps)
        yield cut(trace.states, around), x[steps], cut(add, steps), z, kept, cut(idle, steps)


def _place(room: Array | None, steps: slice) -> Any:
    """The part of `room` for these steps: room[steps] if `room` has all steps of the run, otherwise its beginning."""
    if room is None:
        return None
    return room[steps] if len(room) >= steps.stop else room[: steps.stop - steps.start]


def _steps_at_once(cell: Cell, T: int, N: int, H: int) -> int:
    return T if T < 2 else min(T, max(CHUNK // max(N * cell.pre * H, 1), 1))


def _chunks(T: int, length: int, reverse: bool) -> list[slice]:
    """T steps in chunks, in the order of the run."""
    if T == length > 0:
        return [slice(0, T)]
    chunks = [slice(start, min(start + length, T)) for start in range(0, T, length)] if T else []
    return chunks[::-1] if reverse else chunks


def project_input(
    xp: Any, dot: Callable[..., Any], cell: Cell, inputs: Inputs, x: Array, add: Array | None, z: Array
) -> None:
    """z = x @ Wx + b + add; `dot` is that of `Products`.

    x     (steps, N, D), or (N, D) of one step
    add   (steps, N, pre · H), or (N, pre · H), None for zeros
    z     (steps, N, pre · H), overwritten
    """
    H = inputs.hidden_size()
    steps, N, width = z.shape
    rows = () if steps * N == 1 else (steps * N,)  # NumPy adds two vectors twice as fast as (1, n) and (n,)
    x, z = x.reshape(*rows, x.shape[-1]), z.reshape(*rows, width)
    from_x = segments(cell.from_x, cell.pre, H)
    if from_x[0][0] is ALL:
        dot(x, inputs.Wx, z)
        z += inputs.b
    else:
        xWx = dot(x, inputs.Wx)
        for part, block in from_x:
            xp.add(xWx[..., part], inputs.b[part], out=z[..., block])
        for part, block in segments(cell.from_b, cell.pre, H, len(cell.from_x)):
            z[..., block] = inputs.b[part]
    if add is not None:
        add = add.reshape(z.shape)
        for part, block in segments(cell.from_b, cell.pre, H):
            z[..., block] += add[..., part]


# ---- after the loop ----


def _fed_by_x(xp: Any, cell: Cell, dz: Array, H: int) -> Array:
    """The blocks that x @ Wx feeds, in the order of Wx's parts.   dz (rows, pre · H) → (rows, parts · H)."""
    fed = [columns(dz, block) for _, block in segments(cell.from_x, cell.pre, H)]
    return fed[0] if len(fed) == 1 else xp.concatenate(fed, axis=1)
