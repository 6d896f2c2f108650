"""Cells beyond what tests/reference.py tests for every cell: extreme numbers, initial values, heads, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from tests.errors import refused
from tests.layers.kinds import first
from xrnn import GRU, LRU, LSTM, RNN, SLSTM, Bidirectional, MinGRU, MinLSTM, Recurrent, Stack, cells, to_numpy
from xrnn.backend import Backend, use_fused
from xrnn.ops.cells.lru import LEAST_NU, MOST_NU, LRUCell
from xrnn.ops.cells.minimal import MinGRUCell, MinLSTMCell

# ---- heads ----


KINDS: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "rnn": (RNN, 1, {}),
    "leak": (RNN, 1, {"leak": 0.3}),
    "lstm": (LSTM, 4, {}),
    "gru": (GRU, 3, {}),
}
every_kind = pytest.mark.parametrize("name", KINDS)


@every_kind
@pytest.mark.parametrize("heads", [None, 4])
def test_fresh_weights_are_orthogonal_in_each_gate_of_each_head(name: str, heads: int | None, backend: Backend) -> None:
    kind, gates, options = KINDS[name]
    made = [kind.init(3, 12, heads=heads, rng=7, reverse=True, backend=on, **options) for on in (backend, "numpy")]
    layer, on_host = made
    assert (layer.reverse, layer.backend, layer.heads, layer.hidden_size) == (True, backend, heads, 12)
    for got, want in zip(layer.params, on_host.params, strict=True):
        assert got.dtype == np.float32
        assert_array_equal(to_numpy(got), want)
    assert layer.grads[1].shape == layer.Wh.shape
    for head in on_host.Wh if heads else [on_host.Wh]:
        for gate in np.split(head, gates, axis=1):
            assert_allclose(gate.T @ gate, np.eye(len(gate)), atol=1e-6)
    assert kind.init(3, 12, dtype="float64", backend=backend).Wx.dtype == np.float64


@every_kind
def test_a_nan_in_a_state_stays_in_its_head(name: str, backend: Backend, form: str) -> None:
    kind, _, options = KINDS[name]
    layer = kind.init(3, 12, heads=3, rng=0, dtype="float64", backend=backend, **options)
    h = backend.xp.zeros((4, 12))
    h[:, 5] = np.nan
    after = np.isnan(to_numpy(first(layer(backend.xp.ones((1, 4, 3)), h))))[0, 0]
    assert_array_equal(np.flatnonzero(after), np.arange(4, 8))


def test_a_cell_of_your_own_may_have_heads(backend: Backend) -> None:
    layer = RNN.init(3, 8, heads=2, rng=0, backend=backend)
    own = Recurrent(xrnn.RNNCell(), *layer.params)
    x = backend.asarray(np.random.default_rng(1).standard_normal((6, 2, 3)), "float32")
    assert own.heads == 2
    assert_allclose(to_numpy(own(x)), to_numpy(layer(x)), atol=1e-6)


# ---- MinGRU and MinLSTM ----


def with_gates(kind: Any, backend: Backend, dtype: str, gates: tuple[float, ...], H: int = 19) -> Any:
    """A layer whose blocks of z have these values, whatever x is."""
    b = np.repeat(gates, H)
    return kind(*(backend.asarray(a, dtype) for a in (np.zeros((2, len(b))), np.empty((H, 0)), b)))


# The pre-activations of f and i; w = i / (f + i), and the gradient of log w by z, ± this slope.
GATES = [
    *((lowest, lowest + np.log(3), 0.75, 0.25) for lowest in (-90.0, -1_000.0, -5_000.0)),
    *((lowest, lowest + np.log(3), 0.5, 0.0) for lowest in (30.0, 1_000.0)),
    (0.0, -1_000.0, 0.0, 0.0),
    (-1_000.0, 0.0, 1.0, 0.0),
]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("f", "i", "w", "slope"), GATES)
def test_gates_that_underflow(backend: Backend, dtype: str, f: float, i: float, w: float, slope: float) -> None:
    layer = with_gates(MinLSTM, backend, dtype, (f, i, 5.0))
    x, ones = backend.asarray(np.zeros((1, 3, 2)), dtype), backend.asarray(np.ones((3, 19)), dtype)
    tolerance = 1e-3 if dtype == "float32" else 1e-9  # float32 rounds log(3) beside -5,000
    h = layer.forward(x, ones)
    assert_allclose(to_numpy(h), 1 + w * 4, rtol=tolerance)
    _, dh_prev = layer.backward(ones[None])
    assert_allclose(to_numpy(dh_prev), 1 - w, rtol=tolerance)
    dz = np.repeat([-4 * w * slope, 4 * w * slope, w], 19) * 3  # of three rows
    assert_allclose(to_numpy(layer.grads[2]), dz, rtol=tolerance, atol=1e-6)


@pytest.mark.usefixtures("form")
def test_infinite_and_missing_pre_activations(backend: Backend) -> None:
    inf, nan = np.inf, np.nan
    for f, i, h in ((-inf, 0, 5), (inf, 0, 1 + 4 / 3), (0, -inf, 1), (-inf, inf, 5), (nan, 0, nan), (0, nan, nan)):
        layer = with_gates(MinLSTM, backend, "float64", (f, i, 5.0), H=3)
        found = layer(backend.asarray(np.zeros((1, 2)), "float64"), backend.asarray(np.ones((1, 3)), "float64"))
        assert_allclose(to_numpy(found), np.full((1, 3), h), rtol=1e-12)


@pytest.mark.parametrize("N", [97, 128, 191, 192])
@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
def test_the_last_rows_of_a_large_batch_take_several_steps_at_a_time(kind: Any, N: int) -> None:
    layer = kind.init(256, 21, rng=0, backend="numpy")
    x = np.random.default_rng(1).standard_normal((9, N, 256)).astype("float32")
    with use_fused(False):
        expected = layer(x)
    assert_allclose(layer(x), expected, rtol=0, atol=1e-5)


# ---- SLSTM ----


FORGET_GATES = ("exp", "sigmoid")


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("forget_gate", FORGET_GATES)
@pytest.mark.parametrize("largest", [30.0, 1e4])
def test_nothing_overflows(backend: Backend, forget_gate: Any, largest: float) -> None:
    rng = np.random.default_rng(0)
    layer = SLSTM.init(3, 21, forget_gate=forget_gate, rng=0, backend=backend)
    layer.params[0] *= np.float32(0)
    layer.params[2][...] = backend.asarray(rng.uniform(-largest, largest, 84), "float32")
    layer.params[0][0] = backend.asarray(rng.choice([-largest, largest], 84), "float32")
    x = backend.asarray(rng.choice([-1, 0, 1], (60, 5, 3)), "float32")
    results = layer.forward(x)
    gradients = layer.backward(*(backend.xp.ones_like(r) for r in results[:3]))
    h, _, n, _ = (to_numpy(r) for r in results)
    assert abs(h).max() <= 1
    assert n.min() >= 1
    for array in (*results, *gradients, *layer.grads):
        assert np.isfinite(to_numpy(array)).all()


@pytest.mark.usefixtures("form")
def test_gates_far_apart(backend: Backend) -> None:
    """An input that outweighs the past, and a past that outweighs the input."""
    x = backend.asarray(np.array([[[0.0]], [[1.0]]]), "float32")
    for slope, h in ((1e4, np.tanh(-0.5)), (-1e4, np.tanh(0.5))):  # log i is 0, then ±10,000
        Wx, b = [[slope, 0, -1, 0]], [0, 0, 0.5, 1e4]
        weights = (backend.asarray(np.array(w), "float32") for w in (Wx, np.zeros((1, 4)), b))
        results = SLSTM(*weights, forget_gate="sigmoid")(x)
        assert_allclose(to_numpy(results[0])[:, 0, 0], [np.tanh(0.5), h], rtol=1e-6)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("forget_gate", FORGET_GATES)
def test_a_fresh_state_has_the_scale_of_its_first_input(backend: Backend, forget_gate: Any) -> None:
    layer = SLSTM.init(3, 4, forget_gate=forget_gate, heads=2, rng=0, dtype="float64", backend=backend)
    x, m_prev = (backend.asarray(np.random.default_rng(0).standard_normal(s)) for s in ((2, 3), (2, 4)))
    _, _, n, m = layer(x, m_prev=100 * m_prev)
    assert_array_equal(to_numpy(n), np.ones((2, 4)))
    assert_allclose(to_numpy(m), to_numpy(x @ layer.params[0])[:, :4] + to_numpy(layer.params[2])[:4], rtol=1e-14)


# ---- LRU ----


@pytest.mark.usefixtures("form")
def test_no_state_grows(backend: Backend) -> None:
    """|λ| < 1 in float32 for every ν, and so the states of a bounded input stay bounded."""
    xp, rng = backend.xp, np.random.default_rng(0)
    nu = np.array([-1e30, -100, -17, -14, -13.8, -10, -1, 4, 5, 6, 100, 1e30], "float32").repeat(1000)
    theta = np.log(rng.uniform(1e-6, 2 * math.pi, len(nu))).astype("float32")
    cell = LRUCell()
    params = [backend.asarray(a) for a in (nu, theta, np.zeros_like(nu))]
    re, im, _ = (backend.to_numpy(a).astype("float64") for a in cell.coefficients(xp, params))
    assert (np.hypot(re, im) < 1).all()

    some = [param[::20] for param in params]
    layer: Any = LRU.init(1, len(some[0]), rng=0, backend=backend)
    for param, value in zip(layer.params[3:], some, strict=True):
        param[...] = value
    ones = xp.ones((1, 2 * len(some[0])), "float32")
    h = layer.forward(xp.zeros((200, 1, 1), "float32"), ones)
    assert float(abs(h).max()) <= math.sqrt(2)
    layer.backward(xp.ones_like(h))
    assert all(np.isfinite(backend.to_numpy(g)).all() for g in layer.grads)


@pytest.mark.usefixtures("form")
def test_a_factor_beyond_its_bound_can_come_back(backend: Backend) -> None:
    """The gradient of ν is that at the bound, or 0 if descent would lead further away."""
    x, dh = (np.random.default_rng(0).standard_normal((6, 2, width)) for width in (3, 80))
    layer: Any = LRU.init(3, 40, rng=0, dtype="float64", backend=backend)

    def gradient(nu: float) -> Any:
        layer.nu[...] = nu
        layer.forward(backend.asarray(x))
        layer.backward(backend.asarray(dh))
        return backend.to_numpy(layer.grads[3]).copy()

    at_least, at_most = gradient(LEAST_NU), gradient(MOST_NU)
    assert (at_least < 0).any()
    assert (at_least > 0).any()
    assert_allclose(gradient(LEAST_NU - 3), np.minimum(at_least, 0), rtol=1e-12)
    assert_allclose(gradient(MOST_NU + 3), np.maximum(at_most, 0), rtol=1e-12)


@pytest.mark.usefixtures("form")
def test_the_gradient_of_gamma_is_as_exact_as_h(backend: Backend) -> None:
    """It is a sum of differences of states, which are near each other if |λ| is near 1."""
    rng = np.random.default_rng(0)
    layer: Any = LRU.init(3, 64, r_min=0.999, r_max=0.99999, rng=0, backend=backend)
    exact: Any = LRU(*(backend.asarray(param, "float64") for param in layer.params))
    x, dh = (rng.standard_normal((400, 2, width)) for width in (3, 128))
    results = []
    for each, dtype in ((layer, "float32"), (exact, "float64")):
        h = each.forward(backend.asarray(x, dtype))
        each.backward(backend.asarray(dh, dtype))
        results.append([backend.to_numpy(h), backend.to_numpy(each.grads[5])])
    of_h, of_gamma = (abs(got - want).max() / abs(want).max() for got, want in zip(*results, strict=True))
    assert of_gamma < of_h < 2e-4


def test_the_initial_factors_lie_on_a_ring() -> None:
    layer: Any = LRU.init(3, 4000, r_min=0.5, r_max=0.9, max_phase=1.0, rng=0, dtype="float64", backend="numpy")
    r, phase = np.exp(-np.exp(layer.nu)), np.exp(layer.theta)
    assert (r.min() > 0.5, r.max() < 0.9, phase.max() < 1) == (True, True, True)
    assert_allclose([np.mean(r**2), np.mean(phase)], [(0.5**2 + 0.9**2) / 2, 0.5], rtol=0.02)
    assert_allclose(np.exp(2 * layer.gamma), 1 - r**2, rtol=1e-12)
    h = layer(np.random.default_rng(1).standard_normal((60, 1, 3)))[30:]  # the variance of x
    assert_allclose(np.mean(h[..., :4000] ** 2 + h[..., 4000:] ** 2), 1, rtol=0.2)
    for extreme in (LRU.init(3, 50, r_min=1.0, backend="numpy"), LRU.init(3, 50, r_max=1e-30, backend="numpy")):
        assert all(np.isfinite(param).all() for param in extreme.params)


def test_the_result_of_an_lru_has_two_features_for_each_unit() -> None:
    layer = LRU.init(3, 4, rng=0, backend="numpy")
    assert (layer.hidden_size, layer.output_size, layer.Wx.shape, layer.nu.shape) == (4, 8, (3, 8), (4,))
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    for made in (Stack.init(LRU, 3, 4, depth=2, rng=0), Bidirectional.init(LRU, 3, 4, rng=0)):
        h, states = made.forward(x, lengths=[5, 2])
        assert h.shape == (5, 2, made.output_size)
        assert [s.shape for (s,) in states] == [(2, 8)] * 2
        made.backward(np.ones_like(h))


# ---- RNN(trains_leak=True) ----


LEAKS = [0.01, 0.3, 0.5, 0.9, 0.999]


def test_a_trained_leak_starts_at_the_given_one(backend: Backend) -> None:
    x = backend.asarray(np.random.default_rng(0).standard_normal((6, 3, 2)))
    plain = RNN.init(2, 5, rng=0, dtype="float64", backend=backend)
    for leak in (0.3, LEAKS, np.array(LEAKS)):
        trained: Any = RNN(*plain.params, leak=leak, trains_leak=True)
        assert_allclose(backend.to_numpy(trained.leak), np.broadcast_to(leak, 5), rtol=1e-14)
        expected = RNN(*plain.params, leak=leak)
        assert_allclose(backend.to_numpy(trained(x)), backend.to_numpy(expected(x)), rtol=0, atol=1e-13)
    made: Any = RNN.init(2, 5, leak=LEAKS, trains_leak=True, rng=0, dtype="float64", backend=backend)
    assert_array_equal(backend.to_numpy(made.leak_logit), backend.to_numpy(trained.leak_logit))
    made = RNN.init(2, 5, trains_leak=True, backend=backend)
    assert_array_equal(backend.to_numpy(made.leak), np.full(5, 0.5))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_update_of_a_leak_leaves_its_range(backend: Backend, dtype: Any) -> None:
    """The leak stays in (0, 1], and values and gradients finite, wherever an optimizer moves leak_logit."""
    rnn: Any = RNN.init(2, 5, leak=0.5, trains_leak=True, rng=0, dtype=dtype, backend=backend)
    rnn.leak_logit[...] = backend.asarray(np.array([-1e30, -90, 0, 40, 1e30], dtype))
    h = rnn.forward(backend.xp.ones((4, 3, 2), dtype))
    rnn.backward(backend.xp.ones((4, 3, 5), dtype))
    leak, d = (backend.to_numpy(each) for each in (rnn.leak, rnn.grads[3]))
    assert ((leak > 0) & (leak <= 1)).all()
    assert_array_equal(leak[[3, 4]], 1)
    assert np.isfinite(backend.to_numpy(h)).all()
    assert d[2] != 0
    assert_array_equal(d[[0, 1, 4]], 0)


# ---- refusals ----


def test_wrong_arguments() -> None:
    any_lru, any_rnn, any_slstm = cast(Any, LRU), cast(Any, RNN), cast(Any, SLSTM.init)
    x, h_prev, c, long = (np.zeros(shape, "float32") for shape in ((5, 2, 3), (2, 4), (2, 4), 5))
    params, logit = RNN.init(2, 5, backend="numpy").params, np.zeros(5, "float32")
    Wx, Wh, b, *own = LRU.init(3, 4, backend="numpy").params
    slstm = SLSTM.init(3, 4, backend="numpy")
    state: Any = (None, c, None, None)
    slstm(x, n_prev=c)
    numbers = {"r_min": (-0.1, 0.95), "r_max": (0, 1.1, float("nan")), "max_phase": (0, 7)}

    def lru(**options: Any) -> Callable[[], object]:
        return lambda: any_lru.init(3, 4, **({"r_max": 0.9} | options))

    def trained(*arrays: Any, **options: Any) -> Callable[[], object]:
        return lambda: any_rnn(*params, *arrays, **({"trains_leak": True} | options))

    candidate, both = "unknown candidate 'log': expected one of linear, positive", "got c_prev without n_prev: expected"
    starts = "leak is 1 where its training starts", "expected numbers below 1", "start at 0.99"
    cells: list[Any] = [MinGRUCell, MinLSTMCell, partial(MinGRU.init, 2, 3), partial(MinLSTM.init, 2, 3)]
    refused(
        *((ValueError, lambda make=make: make(candidate="log"), candidate) for make in cells),
        (ValueError, lambda: slstm(x, c_prev=c), both),
        (ValueError, lambda: slstm.forward(x, c_prev=c), both),
        (ValueError, lambda: slstm.stream(x, state), both),
        (ValueError, lambda: Stack([slstm]).forward(x, (state,)), both),
        (ValueError, lambda: any_slstm(2, 3, forget_gate="tanh"), "unknown forget_gate 'tanh': expected one of exp, s"),
        *((ValueError, lru(**{n: v}), f"{n} is {float(v)}: expected") for n, values in numbers.items() for v in values),
        *((TypeError, lru(**{name: "1"}), f"{name} is '1': expected a number") for name in numbers),
        (ValueError, lru(heads=2), "has no heads"),
        (ValueError, lambda: LRU(Wx, Wh[:7], b, *own), "Wh has shape (7, 0)", "expects (2H, 0)"),
        (ValueError, lambda: LRU(Wx, Wh, b, long, *own[1:]), "nu has shape (5,)", "expects (4,)"),
        (ValueError, lambda: LRU(Wx, Wh, b, *own)(x, h_prev), "h_prev has shape (2, 4)", "(2, 8)"),
        *((ValueError, trained(leak=leak), *starts) for leak in (1, 1 - 1e-9, [0.5] * 4 + [1], np.ones(5))),
        (TypeError, trained(), "got neither of leak and leak_logit"),
        (TypeError, trained(logit, leak=0.5), "got both of leak and leak_logit"),
        (TypeError, trained(logit, trains_leak=False), "got leak_logit without trains_leak", "add trains_leak=True"),
        (TypeError, trained(leak=0.5, trains_leak=1), "trains_leak is 1", "True or False"),
        (ValueError, trained(logit[:4]), "leak_logit has shape (4,)", "expects (5,)"),
        (ValueError, trained(leak=2), "leak is 2", "expected a number in (0, 1]"),
        (AttributeError, lambda: any_rnn(*params).leak_logit, "this RNN has no parameter leak_logit"),
    )


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    return [np.zeros(shape, "float32") for shape in shapes]


def test_wrong_numbers_of_heads() -> None:
    no_divisor = "heads is 3 and hidden_size is {}: expected heads that divide hidden_size; use"
    none = "has no heads: expected a cell whose recurrent term is h @ Wh; {}"
    min_gru, gru = arrays((2, 12), (2, 3, 0), (12,)), arrays((2, 18), (2, 3, 9), (18,))
    misfits = [(2, 3, 11), (2, 3, 24), (0, 3, 12), (2, 0, 0), (1, 2, 3, 12)]
    wide, lstm, init = arrays((2, 12), (2, 3, 12), (24,)), LSTM.init(2, 8, heads=2), cast(Any, GRU.init)
    refused(
        (ValueError, lambda: RNN.init(2, 8, heads=3), no_divisor.format(8), "hidden_size=9"),
        (ValueError, lambda: init(2, 8, heads=0), "heads is 0: expected an integer, at least 1"),
        (TypeError, lambda: init(2, 8, heads=2.0), "heads is 2.0: expected an integer, at least 1"),
        (ValueError, lambda: init(2, 8, heads=2, reset_after=False), none.format("use heads=None")),
        (ValueError, lambda: MinGRU(*min_gru), f"MinGRU {none.format('pass a matrix Wh')}"),
        (ValueError, lambda: GRU(*gru, reset_after=False), f"GRU {none.format('pass a matrix Wh')}"),
        (ValueError, lambda: GRU(*gru), "b has shape (18,), but this GRU expects (24,): b_r, b_u, b_n, an"),
        (ValueError, lambda: LSTM(*wide), "Wx has shape (2, 12), but this LSTM expects (D, 24): Wh is (2, 3, 12)"),
        (ValueError, lambda: cells.shapes("gru", 3, 4, 3), no_divisor.format(4)),
        (ValueError, lambda: cells.shapes("min-gru", 3, 4, 2), f"a layer with the cell 'min-gru' {none.format('')}"),
        (ValueError, lambda: xrnn.quantize(lstm), "this LSTM has 2 heads: expected a matrix Wh; use free"),
        *((ValueError, lambda s=s: LSTM(*arrays((2, 24), s, (24,))), f"Wh has shape {s}, but this") for s in misfits),
    )


# ---- softplus ----


def test_softplus_of_extreme_numbers(backend: Backend) -> None:
    """A NaN of one row stays in this row, and nothing warns; large numbers do not overflow. Warnings are errors."""
    zeros = [backend.xp.zeros(shape) for shape in ((1, 1), (1, 1), (1,))]
    zeros[0][...] = 1
    z = np.array([np.nan, 0, 1, -1, 40, -40, 700, -700, 1e6, -1e6])
    h = np.where(z > 30, z, np.log1p(np.exp(np.minimum(z, 30))))
    for fused in (True, False):
        with use_fused(fused):
            rnn = RNN(*zeros, nonlinearity="softplus")
            found = backend.to_numpy(rnn.forward(backend.asarray(z[:, None])))[:, 0]
            assert_allclose(found, h, rtol=1e-14, atol=0)
            dx, _ = rnn.backward(backend.xp.ones((len(z), 1)))
            slope = 1 / (1 + np.exp(np.minimum(-z, 700)))
            assert_allclose(backend.to_numpy(dx)[:, 0], slope, rtol=1e-9, atol=1e-15)
