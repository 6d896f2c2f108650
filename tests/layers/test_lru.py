"""The LRU. Values and gradients are tested with those of all cells, by the row of tests/reference.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.errors import one_line, refused
from xrnn import LRU, Bidirectional, Stack
from xrnn.backend import Backend
from xrnn.ops.cells.lru import LEAST_NU, MOST_NU, LRUCell


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


def test_its_result_has_two_features_for_each_unit() -> None:
    layer = LRU.init(3, 4, rng=0, backend="numpy")
    assert (layer.hidden_size, layer.output_size, layer.Wx.shape, layer.nu.shape) == (4, 8, (3, 8), (4,))
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    for made in (Stack.init(LRU, 3, 4, depth=2, rng=0), Bidirectional.init(LRU, 3, 4, rng=0)):
        h, states = made.forward(x, lengths=[5, 2])
        assert h.shape == (5, 2, made.output_size)
        assert [s.shape for (s,) in states] == [(2, 8)] * 2
        made.backward(np.ones_like(h))
    h, state = layer.stream(x[:3])
    assert_allclose(np.concatenate([h, layer.stream(x[3:], state)[0]]), layer(x), rtol=0, atol=1e-6)


def test_wrong_arguments() -> None:
    lru: Any = LRU  # takes arguments that type checkers refuse
    for name, values in {"r_min": (-0.1, 0.95), "r_max": (0, 1.1, float("nan")), "max_phase": (0, 7)}.items():
        for value in values:
            with one_line(ValueError, f"{name} is {float(value)}: expected a number"):
                lru.init(3, 4, **{"r_max": 0.9, name: value})
        with one_line(TypeError, f"{name} is '1': expected a number"):
            lru.init(3, 4, **{name: "1"})
    Wx, Wh, b, *own = LRU.init(3, 4, backend="numpy").params
    x, h_prev, long = (np.zeros(shape, "float32") for shape in ((5, 2, 3), (2, 4), 5))
    refused(
        (ValueError, lambda: LRU.init(3, 4, heads=2), "has no heads"),
        (ValueError, lambda: LRU(Wx, Wh[:7], b, *own), "Wh has shape (7, 0)", "expects (2H, 0)"),
        (ValueError, lambda: LRU(Wx, Wh, b, long, *own[1:]), "nu has shape (5,)", "expects (4,)"),
        (ValueError, lambda: LRU(Wx, Wh, b, *own)(x, h_prev), "h_prev has shape (2, 4)", "(2, 8)"),
    )
