"""Reference results in float64 for the operands of `benchmarks.problems`.

The tests, the fuzz and the emulator compare their results with these. Each operation is the textbook formula, forward
only and without optimizations. autograd computes the gradients. To test a cell, add it to `CELLS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any, Final

import autograd.numpy as anp
import numpy as np
from autograd import grad
from autograd.tracer import getval

from benchmarks import problems
from benchmarks.problems import Affine, Classification, Convolution, Memory, Scan
from tests.layouts import lay_out
from tests.own_cells import Integrator, IntegratorByItself, LayerNormLSTM, Zoneout, ZoneoutLSTM
from tests.peephole.layer import PeepholeLSTM
from xrnn import GRU, LRU, LSTM, RNN, SLSTM, CurrentRNN, MinGRU, MinLSTM, Recurrent, get_backend
from xrnn.backend import Backend
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.typing import HostArray

# (x (N, D), states (N, H) each, weights…) → the states after a step
StepFunction = Callable[..., tuple[Any, ...]]


def sigmoid(z: Any) -> Any:
    return 1 / (1 + anp.exp(-z))


def identity(z: Any) -> Any:
    return z


def relu(z: Any) -> Any:
    return anp.where(z > 0, z, 0 * z)


def positive(v: Any) -> Any:
    return anp.where(v >= 0, v + 0.5, sigmoid(v))


def log_sigmoid(z: Any) -> Any:
    return -anp.log1p(anp.exp(-z))


def elman(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, f: Callable[[Any], Any] = anp.tanh) -> tuple[Any, ...]:
    (h,) = states
    return (f(x @ Wx + h @ Wh + b),)


def softplus(z: Any) -> Any:
    return anp.logaddexp(0.0, z)


def current(
    x: Any, states: Any, Wx: Any, Wh: Any, b: Any, leak_logit: Any = None, f: Any = anp.tanh, leak: Any = 0.3
) -> tuple[Any, ...]:
    h, v = states
    if leak_logit is not None:
        leak = sigmoid(leak_logit)
    v_next = (1 - leak) * v + leak * (x @ Wx + h @ Wh + b)
    return f(v_next), v_next


def current_by_unit(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, f: Any) -> tuple[Any, ...]:
    return current(x, states, Wx, Wh, b, f=f, leak=leaks(Wx.shape[1]))


def leaky(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    return leaky_of(0.3, elman(x, states, Wx, Wh, b), states)


def leaky_by_unit(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, f: Any = anp.tanh) -> tuple[Any, ...]:
    return leaky_of(leaks(len(Wh)), elman(x, states, Wx, Wh, b, f), states)


def trained_leak(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, leak_logit: Any) -> tuple[Any, ...]:
    return leaky_of(sigmoid(leak_logit), elman(x, states, Wx, Wh, b), states)


def leaky_of(leak: Any, new: Any, states: Any) -> tuple[Any, ...]:
    return ((1 - leak) * states[0] + leak * new[0],)


def lstm(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    return lstm_of_z(x @ Wx + states[0] @ Wh + b, states)


def lstm_of_z(z: Any, states: Any) -> tuple[Any, ...]:
    (_, c), H = states, states[0].shape[-1]
    i, f, g, o = (z[..., gate * H : (gate + 1) * H] for gate in range(4))
    c_next = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
    return sigmoid(o) * anp.tanh(c_next), c_next


def layer_norm_lstm(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, gain: Any, shift: Any) -> tuple[Any, ...]:
    z = (x @ Wx + states[0] @ Wh + b).reshape(len(x), 4, len(Wh))
    centred = z - anp.mean(z, axis=-1, keepdims=True)
    y = centred / anp.sqrt(anp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
    normalised = anp.transpose(gain, (1, 0, 2)) * y + anp.transpose(shift, (1, 0, 2))
    return lstm_of_z(normalised.reshape(len(x), 4 * len(Wh)), states)


def integrator(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    h, m = states
    m_next = m / 2 + anp.tanh(x @ Wx + h @ Wh + b)
    return 0.3 * h + m_next, m_next


def peephole_lstm(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, p_i: Any, p_f: Any, p_o: Any) -> tuple[Any, ...]:
    (h, c), H = states, len(Wh)
    i, f, g, o = ((x @ Wx + h @ Wh + b)[:, gate * H : (gate + 1) * H] for gate in range(4))
    c_next = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * anp.tanh(g)
    return sigmoid(o + p_o * c_next) * anp.tanh(c_next), c_next


def gru(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,), H = states, states[0].shape[-1]
    from_x, from_h = x @ Wx, h @ Wh
    r, u = (sigmoid((from_x + from_h)[..., at : at + H] + b[..., at : at + H]) for at in (0, H))
    n = anp.tanh(from_x[..., 2 * H :] + b[..., 2 * H : 3 * H] + r * (from_h[..., 2 * H :] + b[..., 3 * H :]))
    return ((1 - u) * n + u * h,)


def gru_reset_before(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
    (h,), H = states, len(Wh)
    from_x = x @ Wx + b
    r, u = (sigmoid(from_x[:, at : at + H] + h @ Wh[:, at : at + H]) for at in (0, H))
    n = anp.tanh(from_x[:, 2 * H :] + (r * h) @ Wh[:, 2 * H :])
    return ((1 - u) * n + u * h,)


def min_gru(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, g: Callable[[Any], Any] = identity) -> tuple[Any, ...]:
    (h,), H, z = states, len(Wh), x @ Wx + b
    u = sigmoid(z[:, :H])
    return ((1 - u) * h + u * g(z[:, H:]) + 0 * anp.sum(Wh),)


def min_lstm(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, g: Callable[[Any], Any] = identity) -> tuple[Any, ...]:
    (h,), H, z = states, len(Wh), x @ Wx + b
    f, i = sigmoid(z[:, :H]), sigmoid(z[:, H : 2 * H])
    return ((f * h + i * g(z[:, 2 * H :])) / (f + i) + 0 * anp.sum(Wh),)


def slstm(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, forget: Callable[[Any], Any] = identity) -> tuple[Any, ...]:
    (h, c, n, m), H = states, states[0].shape[-1]
    z = x @ Wx + h @ Wh + b
    log_i, f, g, o = (z[..., gate * H : (gate + 1) * H] for gate in range(4))
    m, log_f = getval(m), forget(f)  # a constant: autograd computes no gradient of it
    m_next = np.where(getval(n) == 0, getval(log_i), np.maximum(getval(log_f) + m, getval(log_i)))
    scaled_i, scaled_f = anp.exp(log_i - m_next), anp.exp(log_f + m - m_next)
    c_next, n_next = scaled_f * c + scaled_i * anp.tanh(g), scaled_f * n + scaled_i
    return sigmoid(o) * c_next / n_next, c_next, n_next, m_next


def lru(x: Any, states: Any, Wx: Any, Wh: Any, b: Any, nu: Any, theta: Any, gamma: Any) -> tuple[Any, ...]:
    (s,), H = states, len(nu)
    z = anp.exp(anp.concatenate((gamma, gamma))) * (x @ Wx + b)
    re, im = anp.exp(-anp.exp(nu)) * anp.cos(anp.exp(theta)), anp.exp(-anp.exp(nu)) * anp.sin(anp.exp(theta))
    s_re, s_im = s[:, :H], s[:, H:]
    turned = anp.concatenate((re * s_re - im * s_im, re * s_im + im * s_re), axis=1)
    return (turned + z + 0 * anp.sum(Wh),)


def of_heads(step: StepFunction) -> StepFunction:
    """Each head is a small layer of its own, which reads the same x.   Wh (k, H/k, parts · H/k)"""

    def with_heads(x: Any, states: Any, Wx: Any, Wh: Any, b: Any) -> tuple[Any, ...]:
        k, K, _ = Wh.shape

        def of_each(a: Any) -> Any:  # (rows, parts · H) → (k, rows, parts · H/k)
            rows, width = a.shape
            parts = anp.transpose(a.reshape(rows, width // (k * K), k, K), (2, 0, 1, 3))
            return parts.reshape(k, rows, width // k)

        after = step(x, tuple(map(of_each, states)), of_each(Wx), Wh, of_each(b if b.ndim == 2 else b[None]))
        return tuple(anp.transpose(state, (1, 0, 2)).reshape(len(x), k * K) for state in after)

    return with_heads


def has_kernel(cell: str) -> bool:
    return problem(cell).layer(get_backend("numpy")).cell.kernel_name is not None


def leaks(H: int) -> HostArray:
    """A leak for each unit. The last one is 1."""
    return np.linspace(0.1, 1, H)


@dataclass(frozen=True)
class CellCase:
    step: StepFunction
    layer: Callable[..., RecurrentLayer]  # (*params, reverse=…) → the layer
    parts: tuple[int, int, int] = (1, 1, 1)  # the number of parts of Wx, of Wh and of b, H columns each
    states: tuple[str, ...] = ("h",)
    own: tuple[str, ...] = ()  # the cell's own parameters
    axes: tuple[int, ...] = ()  # of each of them, before (H,)
    smooth: bool = True  # False if its derivative is not continuous
    heads: bool = False  # Wh has several heads
    stabilisers: int = 0  # the last states, which the gradient takes as constants
    components: int = 1  # numbers of a unit in a state

    @property
    def built_in(self) -> bool:
        """Whether files hold the layer without a registration or a class of the reader."""
        layer = self.layer.func if isinstance(self.layer, partial) else self.layer
        return layer not in (PeepholeLSTM, Recurrent)


POSITIVE: Final[dict[str, Any]] = {"candidate": "positive"}
CELLS: Final = {
    "rnn": CellCase(elman, RNN),
    "relu": CellCase(partial(elman, f=relu), lambda *p, **o: RNN(*p, nonlinearity="relu", **o), smooth=False),
    "leak": CellCase(leaky, lambda *p, **o: RNN(*p, leak=0.3, **o)),
    "leak by unit": CellCase(leaky_by_unit, lambda *p, **o: RNN(*p, leak=leaks(p[1].shape[0]), **o)),
    "leaky relu": CellCase(
        partial(leaky_by_unit, f=relu),
        lambda *p, **o: RNN(*p, nonlinearity="relu", leak=leaks(p[1].shape[0]), **o),
        smooth=False,
    ),
    "softplus": CellCase(partial(elman, f=softplus), partial(RNN, nonlinearity="softplus")),
    "leaky softplus": CellCase(
        partial(leaky_by_unit, f=softplus),
        lambda *p, **o: RNN(*p, nonlinearity="softplus", leak=leaks(p[1].shape[0]), **o),
    ),
    "current rnn": CellCase(current, lambda *p, **o: CurrentRNN(*p, leak=0.3, **o), states=("h", "v")),
    "current relu": CellCase(
        partial(current_by_unit, f=relu),
        lambda *p, **o: CurrentRNN(*p, nonlinearity="relu", leak=leaks(p[1].shape[0]), **o),
        states=("h", "v"),
        smooth=False,
    ),
    "current softplus": CellCase(
        partial(current, f=softplus),
        partial(CurrentRNN, nonlinearity="softplus", trains_leak=True),
        states=("h", "v"),
        own=("leak_logit",),
    ),
    "current heads": CellCase(
        of_heads(current), lambda *p, **o: CurrentRNN(*p, leak=0.3, **o), states=("h", "v"), heads=True
    ),
    "trained leak": CellCase(trained_leak, partial(RNN, trains_leak=True), own=("leak_logit",)),
    "lstm": CellCase(lstm, LSTM, (4, 4, 4), ("h", "c")),
    "gru": CellCase(gru, GRU, (3, 3, 4)),
    "gru reset before": CellCase(gru_reset_before, lambda *p, **o: GRU(*p, reset_after=False, **o), (3, 3, 3)),
    "leak heads": CellCase(of_heads(leaky), lambda *p, **o: RNN(*p, leak=0.3, **o), heads=True),
    "rnn heads": CellCase(of_heads(elman), RNN, heads=True),
    "lstm heads": CellCase(of_heads(lstm), LSTM, (4, 4, 4), ("h", "c"), heads=True),
    "gru heads": CellCase(of_heads(gru), GRU, (3, 3, 4), heads=True),
    "peephole lstm": CellCase(peephole_lstm, PeepholeLSTM, (4, 4, 4), ("h", "c"), ("p_i", "p_f", "p_o")),
    "min gru": CellCase(min_gru, MinGRU, (2, 0, 2)),
    "min gru positive": CellCase(partial(min_gru, g=positive), partial(MinGRU, **POSITIVE), (2, 0, 2), smooth=False),
    "min lstm": CellCase(min_lstm, MinLSTM, (3, 0, 3)),
    "min lstm positive": CellCase(partial(min_lstm, g=positive), partial(MinLSTM, **POSITIVE), (3, 0, 3), smooth=False),
    "slstm": CellCase(slstm, SLSTM, (4, 4, 4), ("h", "c", "n", "m"), stabilisers=1),
    "slstm sigmoid heads": CellCase(
        of_heads(partial(slstm, forget=log_sigmoid)),
        partial(SLSTM, forget_gate="sigmoid"),
        (4, 4, 4),
        ("h", "c", "n", "m"),
        heads=True,
        stabilisers=1,
    ),
    "lru": CellCase(lru, LRU, (1, 0, 1), own=("nu", "theta", "gamma"), components=2),
    # Cells of Recurrent. With p = 0, the results do not depend on the random numbers.
    "zoneout": CellCase(elman, partial(Recurrent, Zoneout(0.0))),
    "zoneout lstm": CellCase(lstm, partial(Recurrent, ZoneoutLSTM(0.0)), (4, 4, 4), ("h", "c")),
    "layer norm lstm": CellCase(
        layer_norm_lstm, partial(Recurrent, LayerNormLSTM()), (4, 4, 4), ("h", "c"), ("gain", "shift"), (4, 1)
    ),
    "integrator": CellCase(integrator, partial(Recurrent, Integrator()), (1, 1, 1), ("h", "m")),
    "integrator by itself": CellCase(integrator, partial(Recurrent, IntegratorByItself()), (1, 1, 1), ("h", "m")),
}


@dataclass
class Problem:
    cell: str
    dtype: str
    reverse: bool
    lengths: HostArray | None
    x: HostArray  # (T, N, D)
    initial: list[HostArray]  # (N, H) for each state
    weights: list[HostArray]  # Wx, Wh, b, then the cell's own parameters
    dstates: list[HostArray | None]  # (T, N, H) for each state
    layouts: Sequence[str] = field(default_factory=lambda: ["C"] * 8)  # of x, the states, the weights, the gradients
    add: HostArray | None = None  # (T, N, columns of b), in the layout of x

    @property
    def case(self) -> CellCase:
        return CELLS[self.cell]

    @property
    def weight_names(self) -> list[str]:
        return ["Wx", "Wh", "b", *self.case.own]

    @property
    def gradient_names(self) -> list[str]:
        return ["dx", *(f"d{state}_prev" for state in self.case.states), *(f"d{name}" for name in self.weight_names)]

    @property
    def returned(self) -> list[str]:
        """The names of the gradients that `backward` of the layer computes: none of a stabiliser."""
        last = 1 + len(self.case.states)
        return self.gradient_names[: last - self.case.stabilisers] + self.gradient_names[last:]

    @property
    def past_end(self) -> HostArray:
        """(T, N): True at the steps past the length of a row."""
        T, N, _ = self.x.shape
        return np.arange(T)[:, None] >= (np.full(N, T) if self.lengths is None else self.lengths)

    def layer(self, backend: Backend) -> RecurrentLayer:
        layouts = [*self.layouts[3:6], *("C" for _ in self.case.own)]
        weights = [lay_out(backend, w, layout) for w, layout in zip(self.weights, layouts, strict=True)]
        return self.case.layer(*weights, reverse=self.reverse)

    def added(self, backend: Backend) -> Any:
        """`add` on the backend and in its layout."""
        return None if self.add is None else lay_out(backend, self.add, self.layouts[0])

    def operands(self, backend: Backend) -> tuple[Any, list[Any], list[Any]]:
        """x, the initial states and the gradients of the results, on the backend and in their layouts."""
        x = lay_out(backend, self.x, self.layouts[0])
        of_states, of_gradients = cycle(self.layouts[1:3]), cycle(self.layouts[6:8])
        initial = [lay_out(backend, s, layout) for s, layout in zip(self.initial, of_states, strict=False)]
        dstates = [
            None if d is None else lay_out(backend, d, layout)
            for d, layout in zip(self.dstates, of_gradients, strict=False)
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
    heads: int | None = None,
    add: bool = False,
) -> Problem:
    """A problem with these sizes T, N, D, H.

    lengths   a list, or "ragged" for random lengths, which include 0 and T if N allows
    heads     of a cell with heads; default: the least divisor of H above 1
    add       whether there are terms besides x @ Wx, h @ Wh and b

    x and add are NaN past the length of a row, because they must not be read there.
    """
    (T, N, _, _), case = sizes, CELLS[cell]
    own = [case.axes] * len(case.own)
    drawn = problems.recurrence(sizes, case.parts, case.states, dtype, seed, own, case.components)
    if lengths == "ragged":
        lengths = [0, T, *np.random.default_rng(seed).integers(0, T + 1, max(N - 2, 0))][:N]
    if not case.smooth:  # keep the pre-activations away from the jump, where rounding would decide the gradient
        _, Wh, b, *_ = drawn.weights
        Wh *= np.asarray(0.1, dtype)
        b += np.where(b < 0, -6, 6).astype(dtype)
    if case.heads:
        drawn.weights[1] = of_dense(drawn.weights[1], heads)
    p = Problem(
        cell=cell,
        dtype=dtype,
        reverse=reverse,
        lengths=None if lengths is None else np.asarray(lengths, "int64"),
        x=drawn.x,
        initial=drawn.initial,
        weights=drawn.weights,
        dstates=[d if state == "h" or dc else None for state, d in zip(case.states, drawn.dstates, strict=True)],
        layouts=layouts or ["C"] * 8,
    )
    p.x[p.past_end] = np.nan
    if add:
        p.add = np.random.default_rng(seed + 1).standard_normal((T, N, len(p.weights[2]))).astype(dtype)
        p.add[p.past_end] = np.nan
    return p


def of_dense(Wh: HostArray, heads: int | None) -> HostArray:
    """Weights of several heads, from a drawn matrix (H, parts · H); None: the least divisor of H above 1."""
    H, width = Wh.shape
    k = heads or next((k for k in range(2, H + 1) if H % k == 0), 1)
    return np.ascontiguousarray(Wh.reshape(k, H // k, width)[..., : width // k] * np.asarray(k**0.5, Wh.dtype))


@dataclass
class Solution:
    states: list[HostArray]  # (T, N, H) for each state
    gradients: dict[str, HostArray]  # dx, dh_prev, …, dWx, dWh, db, …, and dadd if there is an `add`


def states_of(
    step: StepFunction,
    x: Any,
    add: Any,
    initial: Any,
    weights: Any,
    past_end: HostArray | None = None,
    reverse: bool = False,
) -> list[list[Any]]:
    """The states after each step, a list of T arrays for each state.

    add        (T, N, columns of b), or None: a b of each step and row
    past_end   (T, N): True if a step does not change the states of a row. x and add must be finite there: a NaN would
               make autograd's gradient of `where` NaN.
    """
    Wx, Wh, b, *own = weights
    T = len(x)
    results: list[list[Any]] = [[None] * T for _ in initial]
    states = tuple(initial)
    for t in range(T)[:: -1 if reverse else 1]:
        after = step(x[t], states, Wx, Wh, b if add is None else b + add[t], *own)
        if past_end is not None:
            after = tuple(anp.where(past_end[t][:, None], old, new) for old, new in zip(states, after, strict=True))
        states = after
        for result, state in zip(results, states, strict=True):
            result[t] = state
    return results


def solve_steps(
    step: StepFunction,
    x: HostArray,
    initial: Sequence[HostArray],
    weights: Sequence[HostArray],
    dstates: Sequence[HostArray | None],
    past_end: HostArray | None = None,
    reverse: bool = False,
    add: HostArray | None = None,
) -> tuple[list[HostArray], list[HostArray]]:
    """→ the states after each step, (T, N, H) each, and the gradients of ⟨dstates, states⟩ by x, the initial states,
    the weights, and add if it is given, all in float64."""
    S, W, shape = len(initial), len(weights), (*x.shape[:2], initial[0].shape[1])
    of_steps = [a if past_end is None else np.where(past_end[..., None], 0, a) for a in (x, add) if a is not None]
    arguments = [np.asarray(a, "float64") for a in (of_steps[0], *initial, *weights, *of_steps[1:])]

    def states(x: Any, *rest: Any) -> Any:
        return states_of(step, x, rest[S + W] if rest[S + W :] else None, rest[:S], rest[S : S + W], past_end, reverse)

    def total(*arguments: Any) -> Any:
        loss = 0.0 * sum(anp.sum(a) for a in arguments)  # depends on every argument, even if T = 0
        for d, result in zip(dstates, states(*arguments), strict=True):
            for d_t, state in zip([] if d is None else np.asarray(d, "float64"), result, strict=d is not None):
                loss = loss + anp.sum(d_t * state)
        return loss

    results = states(*arguments)
    gradients = grad(total, tuple(range(len(arguments))))(*arguments)
    return [np.array(result, "float64").reshape(shape) for result in results], list(gradients)


_solved: dict[bytes, Solution] = {}


def solve(p: Problem) -> Solution:
    """The solution of a problem. It is cached and read-only, because all backends and forms are compared with it."""
    digest = hashlib.blake2b(repr((p.cell, p.reverse)).encode())
    for array in (p.lengths, p.x, p.add, *p.initial, *p.weights, *p.dstates):
        digest.update(repr(array is not None and (array.dtype, array.shape)).encode())
        digest.update(b"" if array is None else array.tobytes())
    key = digest.digest()
    if key not in _solved:
        past_end = None if p.lengths is None else p.past_end
        states, gradients = solve_steps(p.case.step, p.x, p.initial, p.weights, p.dstates, past_end, p.reverse, p.add)
        for array in (*states, *gradients):
            array.flags.writeable = False
        names = [*p.gradient_names, *(() if p.add is None else ["dadd"])]
        _solved[key] = Solution(states, dict(zip(names, gradients, strict=True)))
    return _solved[key]


# ---- the affine map and the loss ----


def solve_affine(p: Affine) -> dict[str, HostArray]:
    """y = x @ W + b and the gradients of ⟨dy, y⟩, in float64: y, dx, dW, db."""
    x, W, b, dy = (np.asarray(a, "float64") for a in (p.x, p.W, p.b, p.dy))

    def y(x: Any, W: Any, b: Any) -> Any:
        return x @ W + b

    gradients = grad(lambda *operands: anp.sum(dy * y(*operands)), (0, 1, 2))(x, W, b)
    return {"y": y(x, W, b), **dict(zip(("dx", "dW", "db"), gradients, strict=True))}


def solve_classification(p: Classification) -> dict[str, HostArray]:
    """losses (rows,) = -weight · log softmax(logits)[target], and dlogits of their sum, in float64."""
    logits, weight = (np.asarray(a, "float64") for a in (p.logits, p.weight))
    rows = np.arange(len(logits))

    def losses(z: Any) -> Any:
        return weight * (anp.log(anp.sum(anp.exp(z), axis=1)) - z[rows, p.targets])

    return {"losses": losses(logits), "dlogits": grad(lambda z: anp.sum(losses(z)))(logits)}


# ---- the selective scan, the matrix memory and the causal convolution ----


def selective_scan_step(
    S: Any, u: Any, delta: Any, A: Any, B: Any, C: Any, skip: Any, z: Any, bias: Any, softplus_of_delta: bool
) -> tuple[Any, Any]:
    """One step of Mamba → S, y.   S (N, D, K), u, delta, z (N, D), B and C as they broadcast to (N, D, K)."""
    step = delta + bias
    if softplus_of_delta:
        step = softplus(step)
    S = anp.exp(step[:, :, None] * A) * S + (step * u)[:, :, None] * B
    y = anp.sum(S * C, axis=-1) + skip * u
    return S, y * z * sigmoid(z)


def of_channels(array: Any, t: int, D: int) -> Any:
    """B or C of a step, which broadcasts to (N, D, K): each group of channels has its own, or each channel."""
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3:
        return array[t][:, None]
    return anp.repeat(array[t], D // array.shape[2], axis=1)


def solve_scan(p: Scan, softplus: bool = True, lengths: HostArray | None = None) -> dict[str, HostArray]:
    """y, last, and the gradients of ⟨dy, y⟩ + ⟨dlast, last⟩ by each operand, in float64: y, last, du, ddelta, …

    Without z, a gate of 1 is used: z is chosen so that silu(z) = 1. Other missing operands are zeros.
    """
    (T, N, D), K = p.operands["u"].shape, p.operands["A"].shape[1]
    zeros = {"skip": (D,), "bias": (D,), "initial": (N, D, K)}
    operands = {name: np.zeros(shape) for name, shape in zeros.items()} | p.operands
    names = list(operands)
    past_end = np.arange(T)[:, None] >= (np.full(N, T) if lengths is None else lengths)
    values = [np.asarray(operands[name], "float64") for name in names]
    for name, value in zip(names, values, strict=True):  # past the end of a row: any finite number
        if name in ("u", "delta", "z") or (name in "BC" and value.ndim > 2):
            value[past_end] = 0

    def results(*values: Any) -> tuple[Any, Any]:
        o = dict(zip(names, values, strict=True))
        S, ys = o["initial"], []
        for t in range(T):
            z = o["z"][t] if "z" in o else SILU_IS_ONE
            B, C = (of_channels(o[name], t, D) for name in "BC")
            new, y = selective_scan_step(S, o["u"][t], o["delta"][t], o["A"], B, C, o["skip"], z, o["bias"], softplus)
            S = anp.where(past_end[t][:, None, None], S, new)
            ys.append(anp.where(past_end[t][:, None], 0.0, y))
        return anp.array(ys), S

    return _solution(names, values, results, ("y", "last"), (p.dy, p.dlast))


SILU_IS_ONE: Final = 1.2784645427610738  # silu of it is 1


def solve_memory(p: Memory, lengths: HostArray | None = None) -> dict[str, HostArray]:
    """y, last, and the gradients of ⟨dy, y⟩ + ⟨dlast, last⟩ by each operand, in float64: y, last, dq, dk, …"""
    T, N, H, V = p.operands["v"].shape
    groups, K = p.operands["k"].shape[2:]
    operands = {"initial": np.zeros((N, H, K, V))} | p.operands
    names = list(operands)
    past_end = np.arange(T)[:, None] >= (np.full(N, T) if lengths is None else lengths)
    values = [np.asarray(operands[name], "float64") for name in names]
    for name, value in zip(names, values, strict=True):  # past the end of a row: any finite number
        if name != "initial":
            value[past_end] = 0

    def results(*values: Any) -> tuple[Any, Any]:
        o = dict(zip(names, values, strict=True))
        S, ys = o["initial"], []
        for t in range(T):
            q, k = (anp.repeat(o[name][t], H // groups, axis=1) for name in "qk")
            new = anp.exp(o["log_decay"][t])[:, :, None, None] * S + anp.einsum("nhk,nhv->nhkv", k, o["v"][t])
            S = anp.where(past_end[t][:, None, None, None], S, new)
            ys.append(anp.where(past_end[t][:, None, None], 0.0, anp.einsum("nhk,nhkv->nhv", q, S)))
        return anp.array(ys), S

    return _solution(names, values, results, ("y", "last"), (p.dy, p.dlast))


def solve_convolution(p: Convolution, silu: bool = True, lengths: HostArray | None = None) -> dict[str, HostArray]:
    """y, last, and the gradients of ⟨dy, y⟩ + ⟨dlast, last⟩ by each operand, in float64: y, last, dx, dweight, …"""
    (T, N, D), W = p.operands["x"].shape, p.operands["weight"].shape[1]
    operands = {"bias": np.zeros(D), "initial": np.zeros((W - 1, N, D))} | p.operands
    names, ends = list(operands), np.full(N, T) if lengths is None else lengths
    past_end = np.arange(T)[:, None] >= ends
    values = [np.asarray(operands[name], "float64") for name in names]
    values[names.index("x")][past_end] = 0

    def results(*values: Any) -> tuple[Any, Any]:
        o = dict(zip(names, values, strict=True))
        x = anp.concatenate([o["initial"], o["x"]])
        ys = []
        for t in range(T):
            a = o["bias"] + sum(o["weight"][:, j] * x[t + j] for j in range(W))
            ys.append(anp.where(past_end[t][:, None], 0.0, a * sigmoid(a) if silu else a))
        return anp.array(ys), x[ends + np.arange(W - 1)[:, None], np.arange(N)]

    return _solution(names, values, results, ("y", "last"), (p.dy, p.dlast))


def _solution(
    names: Sequence[str],
    values: Sequence[HostArray],
    results: Callable[..., tuple[Any, ...]],
    outputs: Sequence[str],
    weights: Sequence[HostArray],
) -> dict[str, HostArray]:
    """The outputs of `results(*values)` by name, and the gradients of Σ ⟨weight, output⟩, with d before the name."""

    def total(*values: Any) -> Any:
        return sum(anp.sum(weight * output) for weight, output in zip(weights, results(*values), strict=True))

    gradients = grad(total, tuple(range(len(values))))(*values)
    found = dict(zip(outputs, results(*values), strict=True))
    return found | {f"d{name}": g for name, g in zip(names, gradients, strict=True)}
