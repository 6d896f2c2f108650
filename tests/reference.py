"""Problems and their float64 solutions, for every test of a recurrence.

Each cell is written as the textbook writes it, forward only: nothing hoisted, nothing fused, nothing reused. The
gradients are autograd's. A cell is tested by being registered in `CELLS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import autograd.numpy as anp
import numpy as np
from autograd import grad

from tests.layouts import lay_out
from tests.ugrnn.layer import UGRNN
from xrnn import GRU, LSTM, RNN
from xrnn.backend import Backend
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.typing import HostArray

# (x (N, D), states (N, H) each, Wx, Wh, b) → the states after a step
StepFunction = Callable[..., tuple[Any, ...]]


def sigmoid(z: Any) -> Any:
    return 1 / (1 + anp.exp(-z))


def elman(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,) = states
    return (anp.tanh(x @ Wx + h @ Wh + b),)


def relu_elman(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,) = states
    z = x @ Wx + h @ Wh + b
    return (anp.where(z > 0, z, 0 * z),)


def leaky(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,) = states
    return (0.7 * h + 0.3 * anp.tanh(x @ Wx + h @ Wh + b),)


def leaky_by_unit(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,), leak = states, leaks(len(Wh))
    return ((1 - leak) * h + leak * anp.tanh(x @ Wx + h @ Wh + b),)


def lstm(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h, c), H = states, len(Wh)
    i, f, g, o = ((x @ Wx + h @ Wh + b)[:, gate * H : (gate + 1) * H] for gate in range(4))
    c_next = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
    return sigmoid(o) * anp.tanh(c_next), c_next


def gru(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,), H = states, len(Wh)
    from_x, from_h = x @ Wx, h @ Wh
    r, u = (sigmoid((from_x + from_h)[:, at : at + H] + b[at : at + H]) for at in (0, H))
    n = anp.tanh(from_x[:, 2 * H :] + b[2 * H : 3 * H] + r * (from_h[:, 2 * H :] + b[3 * H :]))
    return ((1 - u) * n + u * h,)


def gru_reset_before(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,), H = states, len(Wh)
    from_x = x @ Wx + b
    r, u = (sigmoid(from_x[:, at : at + H] + h @ Wh[:, at : at + H]) for at in (0, H))
    n = anp.tanh(from_x[:, 2 * H :] + (r * h) @ Wh[:, 2 * H :])
    return ((1 - u) * n + u * h,)


def ugrnn(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,), H = states, len(Wh)
    z = x @ Wx + h @ Wh + b
    u, y = sigmoid(z[:, :H]), anp.tanh(z[:, H:])
    return ((1 - u) * y + u * h,)


def leaks(H: int) -> HostArray:
    """A leak for each unit, 1 among them."""
    return np.linspace(0.1, 1, H)


@dataclass(frozen=True)
class CellCase:
    """A cell as the tests know it: its textbook step, and the layer that runs it."""

    step: StepFunction
    layer: Callable[..., RecurrentLayer]  # of the parameters, reverse=
    of_weights: tuple[int, int, int] = (1, 1, 1)  # parts of Wx, of Wh, of b
    states: tuple[str, ...] = ("h",)
    smooth: bool = True  # whether its slope never jumps


CELLS: Final = {
    "rnn": CellCase(elman, RNN),
    "relu": CellCase(relu_elman, lambda *p, **o: RNN(*p, nonlinearity="relu", **o), smooth=False),
    "leak": CellCase(leaky, lambda *p, **o: RNN(*p, leak=0.3, **o)),
    "leak by unit": CellCase(leaky_by_unit, lambda *p, **o: RNN(*p, leak=leaks(p[1].shape[0]), **o)),
    "lstm": CellCase(lstm, LSTM, (4, 4, 4), ("h", "c")),
    "gru": CellCase(gru, GRU, (3, 3, 4)),
    "gru reset before": CellCase(gru_reset_before, lambda *p, **o: GRU(*p, reset_after=False, **o), (3, 3, 3)),
    "ugrnn": CellCase(ugrnn, UGRNN, (2, 2, 2)),
}


@dataclass
class Problem:
    """Random operands of a recurrence, forward and backward; Wh shrinks the state, so rounding doesn't grow with T."""

    cell: str
    dtype: str
    reverse: bool
    lengths: HostArray | None
    x: HostArray  # (T, N, D)
    initial: list[HostArray]  # (N, H) a state
    weights: list[HostArray]  # Wx, Wh, b
    dstates: list[HostArray | None]  # (T, N, H) a state
    layouts: Sequence[str] = field(default_factory=lambda: ["C"] * 8)  # of x, the states, the weights, the gradients

    @property
    def case(self) -> CellCase:
        return CELLS[self.cell]

    def layer(self, backend: Backend) -> RecurrentLayer:
        weights = [lay_out(backend, w, layout) for w, layout in zip(self.weights, self.layouts[3:6], strict=True)]
        return self.case.layer(*weights, reverse=self.reverse)

    def operands(self, backend: Backend) -> tuple[Any, list[Any], list[Any]]:
        """x, the initial states and the gradients of the results, laid out on the backend."""
        x = lay_out(backend, self.x, self.layouts[0])
        initial = [lay_out(backend, s, layout) for s, layout in zip(self.initial, self.layouts[1:3], strict=False)]
        dstates = [
            None if d is None else lay_out(backend, d, layout)
            for d, layout in zip(self.dstates, self.layouts[6:8], strict=False)
        ]
        return x, initial, dstates


def problem(
    cell: str = "rnn",
    sizes: tuple[int, int, int, int] = (7, 4, 3, 5),
    dtype: str = "float64",
    *,
    seed: int = 0,
    reverse: bool = False,
    lengths: Sequence[int] | str | None = None,
    layouts: Sequence[str] | None = None,
    dc: bool = True,
) -> Problem:
    """A problem of these sizes T, N, D, H. lengths="ragged" draws some, 0 and T among them where there is room."""
    (T, N, D, H), case, rng = sizes, CELLS[cell], np.random.default_rng(seed)

    def draw(scale: float, *shape: int) -> HostArray:
        return np.asarray(scale * rng.standard_normal(shape)).astype(dtype)

    if lengths == "ragged":
        lengths = [0, T, *rng.integers(0, T + 1, max(N - 2, 0))][:N]
    in_x, in_h, in_b = case.of_weights
    weights = [draw(max(D, 1) ** -0.5, D, in_x * H), draw(0.7 * H**-0.5, H, in_h * H), draw(1, in_b * H)]
    if not case.smooth:  # no pre-activation may come near the jump, or rounding decides the gradient
        weights[1] *= np.asarray(0.1, dtype)
        weights[2] += np.where(weights[2] < 0, -6, 6).astype(dtype)
    dstates = [draw(1, T, N, H) if state == "h" or dc else None for state in case.states]
    return Problem(
        cell,
        dtype,
        reverse,
        None if lengths is None else np.asarray(lengths, "int64"),
        draw(1, T, N, D),
        [draw(1, N, H) for _ in case.states],
        weights,
        dstates,
        layouts or ["C"] * 8,
    )


@dataclass
class Solution:
    """In float64."""

    states: list[HostArray]  # (T, N, H) a state
    gradients: dict[str, HostArray]  # dx, dh_prev, …, dWx, dWh, db


def states_of(p: Problem, x: Any, initial: Any, weights: Any) -> list[list[Any]]:
    """The states after each step, a list of T for each state: row by row past its length, nothing changes."""
    T = len(x)
    lengths = np.full(x.shape[1], T) if p.lengths is None else p.lengths
    results: list[list[Any]] = [[None] * T for _ in initial]
    states = tuple(initial)
    for t in range(T)[:: -1 if p.reverse else 1]:
        active = (t < lengths)[:, None]
        # What lies past a row's end may be a NaN, which would poison the gradient of `where` too.
        x_t = anp.where(active, x[t], 0.0) if p.lengths is not None else x[t]
        after = p.case.step(x_t, states, *weights)
        states = tuple(anp.where(active, new, old) for new, old in zip(after, states, strict=True))
        for result, state in zip(results, states, strict=True):
            result[t] = state
    return results


_solved: dict[bytes, Solution] = {}


def solve(p: Problem) -> Solution:
    """The solution, read-only: each backend and each form is compared with the same one, which is computed once."""
    digest = hashlib.blake2b(repr((p.cell, p.reverse)).encode())
    for array in (p.lengths, p.x, *p.initial, *p.weights, *p.dstates):
        digest.update(repr(array is not None and (array.dtype, array.shape)).encode())
        digest.update(b"" if array is None else array.tobytes())
    key = digest.digest()
    if key not in _solved:
        _solved[key] = _solve(p)
    return _solved[key]


def _solve(p: Problem) -> Solution:
    x, *rest = (np.asarray(a, "float64") for a in (p.x, *p.initial, *p.weights))
    S, shape = len(p.initial), (*p.x.shape[:2], p.initial[0].shape[1])
    if p.lengths is not None:
        x = np.where((np.arange(len(x))[:, None] < p.lengths)[..., None], x, 0)

    def total(x: Any, *rest: Any) -> Any:
        """⟨dstates, results⟩."""
        loss = 0.0 * sum(anp.sum(a) for a in (x, *rest))  # depends on every argument, also without a step
        for d, result in zip(p.dstates, states_of(p, x, rest[:S], rest[S:]), strict=True):
            for d_t, state in zip([] if d is None else np.asarray(d, "float64"), result, strict=d is not None):
                loss = loss + anp.sum(d_t * state)
        return loss

    results = states_of(p, x, rest[:S], rest[S:])
    names = ["dx", *(f"d{state}_prev" for state in p.case.states), "dWx", "dWh", "db"]
    gradients = grad(total, tuple(range(len(names))))(x, *rest)
    solution = Solution(
        [np.array(result, "float64").reshape(shape) for result in results],
        dict(zip(names, gradients, strict=True)),
    )
    for array in (*solution.states, *solution.gradients.values()):
        array.flags.writeable = False
    return solution
