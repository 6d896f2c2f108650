"""The layer for a user-defined cell, and the check of such a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.gradcheck import GradientMismatchError, gradcheck
from xrnn.layers.recurrent import Cache, RecurrentLayer, as_tuple, fresh_params, single
from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.random import Draws
from xrnn.typing import Array, ArrayIfNeeded, DType, Lengths, Results


class Recurrent(RecurrentLayer):
    """A layer that runs a user-defined `Cell` over time. It runs in the plain form, on any backend.

    Wx (D, len(from_x) · H), Wh (H, len(from_h) · H), b (pre · H,), then the cell's own parameters: arrays of one
    backend, float32 or float64. The layer runs on that backend and uses these arrays without a copy. D is the input
    size, H the hidden size. Inputs are time-major, (T, N, D), for T time steps of a batch of N. An input (N, D) is one
    step of a batch.

    reverse  run from the last step to the first
    seed     decides, together with `forward_calls`, the random numbers of a cell with `draws`; None for a random seed

    `check_cell` checks the cell's gradient.

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit.

    >>> from xrnn import LSTMCell
    >>> layer = Recurrent.init(LSTMCell(), 3, 8, rng=0)
    >>> h, c = layer(np.zeros((20, 4, 3), "float32"))
    >>> h.shape
    (20, 4, 8)
    """

    @classmethod
    def init(  # type: ignore[override]  # takes the cell
        cls,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        reverse: bool = False,
        seed: int | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with new weights: Glorot uniform Wx and orthogonal Wh for each gate.

        The cell gives the bias and its own parameters: `initial_bias` and `initial_params`.

        rng    a seed or a Generator, which gives the same weights on every backend; None for random weights
        dtype  float32 or float64

        Raises TypeError or ValueError for wrong arguments.
        """
        rng = init.as_generator(rng)
        params = fresh_params(cell, input_size, hidden_size, rng, dtype, backend)
        if seed is None and cell.draws:
            seed = int(rng.integers(2**63))
        return cls(cell, *params, reverse=reverse, seed=seed)

    # The built-in layers have no `__getattr__`: in a class with this method every attribute is read more slowly, and a
    # step of a small layer would take a tenth longer.
    if not TYPE_CHECKING:  # type checkers would accept every name

        def __getattr__(self, name: str) -> Array:
            """A parameter of the cell, by its name."""
            if "params" in vars(self) and name in self.names:
                return self.named_params[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the constructor."""
        return {"reverse": self.reverse, "seed": self.seed}

    def remade(self, *params: Any) -> Self:
        return type(self)(self.cell, *params, **self.options)

    def forward(
        self, x: Array, *initial: Array | None, lengths: Lengths | None = None, add: Array | None = None
    ) -> Results:
        """One step, x (N, D) → (N, H), or a sequence, x (T, N, D) → (T, N, H), for each state of the cell.

        initial   the initial states, (N, H) each; None or a missing one means zeros
        lengths   (N,) integers in [0, T]: past its length a row keeps its states, and x and add are not read there
        add       (T, N, columns of b), or (N, columns of b) for one step: a term of each pre-activation, as a b that
                  differs between steps and rows; for noise. None for nothing

        Keeps a cache for `backward`. The results are views of buffers that the layer does not write again. Do not
        change them, `x` or the weights before `backward`.
        """
        return self._results(x, initial, lengths, training=True, add=add)

    def backward(
        self, *dstates: Array | None, cache: Cache | None = None, needs_dx: bool = True, dadd: Array | None = None
    ) -> tuple[ArrayIfNeeded, ...]:
        """The gradients of the results of a `forward` → dx, in the shape of x, and that of each initial state.

        dstates    the gradient of each result; None or a missing one means zeros; the first one is required
        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if the gradient of x is not needed: dx is then None
        dadd       a C-contiguous array of the shape of `add`, overwritten by its gradient; None if it is not needed

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since; ValueError for the cache of another layer.
        """
        return self._backward(self._padded(dstates), cache, needs_dx, dadd)

    def __call__(
        self, x: Array, *initial: Array | None, lengths: Lengths | None = None, add: Array | None = None
    ) -> Results:
        """Inference: the results of `forward`, without a cache."""
        return self._results(x, initial, lengths, training=False, add=add)

    def _results(
        self,
        x: Array,
        initial: Sequence[Array | None],
        lengths: Lengths | None,
        *,
        training: bool,
        add: Array | None,
    ) -> Results:
        states = self._run(x, self._padded(initial), lengths, training=training, add=add)
        return single([state[self._slots[x.ndim]] for state in states])

    def _padded(self, given: Sequence[Array | None]) -> tuple[Array | None, ...]:
        """One entry for each state of the cell: None for the missing ones. Raises TypeError if there are too many."""
        missing = len(self._no_states) - len(given)
        if missing < 0:
            raise TypeError(
                f"got {len(given)} states, but the cell {self.cell.name!r} has {len(self._no_states)}, "
                f"{' and '.join(self.cell.states)}: leave the others out"
            )
        return (*given, *self._no_states[:missing])


def check_cell(cell: Cell, *, backend: str | Backend | None = None) -> None:
    """Compare a cell's gradient with finite differences of its step: in float64, at random points, for every argument.

    If the cell has `stabilisers`, only the gradient of h is compared, because the other states depend on them; the
    initial states are then zeros.

    Raises GradientMismatchError if the gradient is wrong, if `step` or `gradient` leaves a part of its results
    unwritten, if a second run of the same steps gives other results, if a call and `forward` give different results
    although the cell has no `draws`, or if a row of a batch depends on the other rows.

    >>> from xrnn import LSTMCell
    >>> check_cell(LSTMCell())  # no error: the gradient is right
    """
    backend = get_backend(backend)
    T, N, D, H = 4, 3, 2, 5
    rng = np.random.default_rng(0)
    layer = Recurrent.init(cell, D, H, rng=rng, dtype="float64", backend=backend)
    for param in layer.params:
        param += backend.asarray(0.1 * rng.standard_normal(param.shape))
    x = backend.asarray(rng.standard_normal((T, N, D)))
    H = layer.output_size
    states = [backend.asarray((not cell.stabilisers) * rng.standard_normal((N, H))) for _ in cell.states]
    _check_written(layer, x[0], states, backend)
    _check_repeatable(layer, x, states)

    compared = 1 if cell.stabilisers else len(states)

    def forward(x: Array, *arguments: Array) -> Array:
        for param, value in zip(layer.params, arguments[len(states) :], strict=True):
            param[...] = value
        layer.forward_calls = 0  # the same random numbers in each run
        results = as_tuple(layer.forward(x, *arguments[: len(states)]))
        return backend.xp.concatenate(results[:compared], axis=-1)

    def backward(u: Array) -> list[Array]:
        for gradient in layer.grads:
            gradient[...] = np.nan
        parts = [u[..., i * H : (i + 1) * H] for i in range(compared)]
        return [*layer.backward(*parts), *layer.grads]

    if not cell.draws:
        for name, got, want in zip(
            cell.states, as_tuple(layer(x, *states)), as_tuple(layer.forward(x, *states)), strict=True
        ):
            if not bool((got == want).all()):
                raise GradientMismatchError(
                    f"a call of the cell {cell.name!r} gives another {name} than forward: expected the same bits; "
                    "set draws = True if the cell is random in training"
                )
    _check_rows(layer, x, states)
    names = ["x", *(f"{state}_prev" for state in cell.states), *layer.names]
    gradcheck(forward, backward, [x, *states, *(param.copy() for param in layer.params)], names=names)


def _check_repeatable(layer: Recurrent, x: Array, states: Sequence[Array]) -> None:
    """Compare two runs of the same steps. Finite differences of a cell that is not repeatable have no meaning."""

    def run() -> tuple[Array, ...]:
        layer.forward_calls = 0  # the same random numbers of `run.draws`
        return as_tuple(layer.forward(x, *states))

    for name, first, second in zip(layer.cell.states, run(), run(), strict=True):
        if not bool(((first == second) | (first != first)).all()):  # the last is true for NaN
            raise GradientMismatchError(
                f"the cell {layer.cell.name!r} is not repeatable: a second run of the same steps gives another {name}; "
                "set draws = True and take random numbers from run.draws, and keep nothing on the cell between steps"
            )


def _check_rows(layer: Recurrent, x: Array, states: Sequence[Array]) -> None:
    """Compare each row of a batch with the same row alone; of a random cell, in training, with the other rows changed.

    The random numbers of a row depend on its place in the batch.
    """

    def compare(i: int, found: Sequence[Array], batch: Sequence[Array]) -> None:
        for name, got, want in zip(layer.cell.states, found, batch, strict=True):
            if not bool((abs(got - want[:, i]) <= 1e-9 * (1 + abs(want[:, i]))).all()):
                raise GradientMismatchError(
                    f"the cell {layer.cell.name!r} gives row {i} another {name} if the other rows of the batch change: "
                    "expected rows that do not depend on each other; do not mix rows: no sum, mean or index over axis 0"
                )

    def trained(x: Array) -> tuple[Array, ...]:
        layer.forward_calls = 0  # the same random numbers in each run
        return as_tuple(layer.forward(x, *states))

    for i in range(x.shape[1]):
        row = slice(i, i + 1)
        alone = as_tuple(layer(x[:, row].copy(), *(state[row].copy() for state in states)))
        compare(i, [result[:, 0] for result in alone], as_tuple(layer(x, *states)))
        if layer.cell.draws:
            others = x + 1
            others[:, i] = x[:, i]
            compare(i, [result[:, i] for result in trained(others)], trained(x))


def _check_written(layer: Recurrent, x: Array, states: Sequence[Array], backend: Backend) -> None:
    """Run one step and its gradient on outputs full of NaN. An element that is still NaN afterwards was not written."""
    xp, cell = backend.xp, layer.cell
    N, H = states[0].shape
    Wh = layer.params[1]
    own = layer.params[3:]

    def unwritten(*shape: int) -> Array:
        return xp.full(shape, np.nan)

    run = Run(
        xp=xp,
        products=backend.products(),
        W=Wh,
        params=cell.coefficients(xp, own),
        dparams=[xp.zeros_like(param) for param in own],
        training=True,
        constants=cell.constants(xp, x.dtype),
        draws=Draws(xp, (layer.seed, 0)),
    )
    z = xp.zeros((cell.pre, N, H))
    z += backend.asarray(np.random.default_rng(1).standard_normal(z.shape))
    after = [z[0] if cell.pointwise and i == 0 else unwritten(N, H) for i in range(len(states))]
    kept = unwritten(cell.kept, N, H) if cell.kept else None
    cell.step(run, StepArrays(z, states, after, kept))
    written = {f"after[{i}]": array for i, array in enumerate(after)} | ({} if kept is None else {"kept": kept})
    _refuse_unwritten(xp, cell, "step", written, "write all of it")

    run.W = Wh.T
    dz = unwritten(1, cell.pre, N, H)
    dbefore = [unwritten(N, H) for _ in states]
    many = [None if part is None else part[None] for part in (z if cell.keeps_z else None, kept)]
    at = StepArrays(many[0], [s[None] for s in states], [s[None] for s in after], many[1])
    cell.prepare(run, at, dz)
    one = [None if part is None else part[0] for part in (at.z, at.kept, at.prepared)]
    at = StepArrays(one[0], states, after, one[1], one[2])
    cell.gradient(run, at, [xp.ones((N, H)) for _ in states], dz[0], dbefore)
    if cell.recurs:
        cell.recur_gradient(run, at, dz[0], dbefore[0])
    written = {f"dz[{block}]": dz[0, block] for block in range(cell.pre)}
    _refuse_unwritten(xp, cell, "gradient", written, "write all blocks of dz")
    written = {f"dbefore[{i}]": d for i, d in enumerate(dbefore) if i or cell.direct}
    remedy = "write it, or set direct = False if the step uses the previous h only inside z"
    _refuse_unwritten(xp, cell, "gradient", written, remedy)


def _refuse_unwritten(xp: Any, cell: Cell, method: str, written: dict[str, Array], remedy: str) -> None:
    for name, array in written.items():
        if bool(xp.isnan(array).any()):
            raise GradientMismatchError(
                f"the {method} of the cell {cell.name!r} leaves {name} unwritten: expected numbers everywhere; {remedy}"
            )
