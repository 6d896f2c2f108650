"""LayerNorm, alone and in a Stack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import refused
from xrnn import GRU, LSTM, LayerNorm, Stack, gradcheck
from xrnn.backend import Backend
from xrnn.typing import Array, HostArray

D, H = 5, 4
LEADING = [(), (4,), (6, 4), (0,), (2, 3, 4)]


def made(backend: Backend, size: int = D, dtype: str = "float64") -> LayerNorm:
    rng = np.random.default_rng(7)
    gamma, beta = (backend.asarray(rng.standard_normal(size), dtype) for _ in range(2))
    return LayerNorm(gamma, beta, eps=1e-3)


def formula(norm: LayerNorm, x: HostArray) -> HostArray:
    gamma, beta = (norm.backend.to_numpy(p).astype("float64") for p in norm.params)
    y: HostArray = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * gamma + beta
    return y


@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_values_and_gradients(backend: Backend, leading: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((*leading, D)) + 3
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-13)):
        norm = made(backend, dtype=dtype)
        y = norm.forward(backend.asarray(x, dtype))
        assert y.shape == x.shape
        assert y.dtype == dtype
        assert_allclose(backend.to_numpy(y), formula(norm, x.astype(dtype)), rtol=0, atol=tolerance)
    weights = [p.copy() for p in norm.params]

    def forward(x: Array, *weights: Array) -> Array:
        for param, weight in zip(norm.params, weights, strict=True):
            param[...] = weight
        return norm.forward(x)

    for grad in norm.grads:
        grad[...] = np.nan
    gradcheck(forward, lambda u: [norm.backward(u), *norm.grads], [backend.asarray(x), *weights])


def test_nan_past_the_end_of_a_row_reaches_no_gradient(backend: Backend) -> None:
    options: dict[str, Any] = {"rng": 0, "dtype": "float64", "backend": backend}
    layers: list[Any] = [LSTM.init(D, H, **options), made(backend, H), GRU.init(H, H, **options), made(backend, H)]
    deep = Stack([made(backend, D), *layers])
    x = np.random.default_rng(0).standard_normal((6, 4, D))
    inside = (np.arange(6)[:, None] < np.array([3, 6, 1, 5]))[..., None]
    found = []
    for value in (0, np.nan):
        deep.forward(backend.asarray(np.where(inside, x, value)), lengths=[3, 6, 1, 5])
        dx, _ = deep.backward(backend.asarray(np.where(inside, x[..., :H], 0)))
        found.append([backend.to_numpy(g).copy() for g in (dx, *deep.grads)])
    for got, want in zip(*found, strict=True):
        assert_array_equal(got, want)
        assert np.isfinite(got).all()


def test_init(backend: Backend) -> None:
    norm = LayerNorm.init(3, backend=backend)
    assert_array_equal(backend.to_numpy(norm.gamma), np.ones(3, "float32"))
    assert_array_equal(backend.to_numpy(norm.beta), np.zeros(3, "float32"))
    assert norm.eps == LayerNorm(*norm.params).eps == 1e-5


def test_bad_input(backend: Backend) -> None:
    xp, norm, alone = backend.xp, made(backend), Stack([made(backend)])
    two, three = xp.zeros(2), xp.zeros(3)
    y = norm.forward(xp.ones((4, D)))
    refused(
        (ValueError, lambda: norm(xp.zeros(())), "x has shape ()", "expects (..., 5)", "gamma is (5,)"),
        (ValueError, lambda: norm(xp.zeros((4, D + 1))), "x has shape (4, 6)", "expects (..., 5)"),
        (ValueError, lambda: LayerNorm(xp.zeros((2, 3)), three), "gamma has shape (2, 3)", "expects (D,)"),
        (ValueError, lambda: LayerNorm(three, two), "beta has shape (2,)", "expects (3,)"),
        (ValueError, lambda: LayerNorm.init(3, eps=0, backend=backend), "eps is 0", "expected a positive number"),
        (ValueError, lambda: norm.backward(xp.zeros((4, 2))), "dy has shape (4, 2)", "expects (4, 5)"),
        (ValueError, lambda: alone.forward(y, lengths=[1] * 4), "got lengths for x of shape (4, 5)", "a sequence"),
    )
