"""Linear: y = x @ W + b over any leading axes."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests import standin
from tests.conftest import STANDIN
from tests.errors import refused
from tests.reference import solve_affine
from xrnn import Linear
from xrnn.backend import Backend

D, C = 3, 5
LEADING = [(), (4,), (6, 4), (2, 3, 4), (0,), (0, 4), (6, 0)]


@pytest.fixture
def linear(backend: Backend) -> Linear:
    return Linear.init(D, C, rng=0, dtype="float64", backend=backend)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_values_and_gradients(backend: Backend, leading: tuple[int, ...], dtype: str) -> None:
    p = problems.affine(math.prod(leading), D, C, dtype)
    linear = Linear(backend.asarray(p.W), backend.asarray(p.b))
    for gradient in linear.grads:
        gradient[...] = np.nan
    y = linear.forward(backend.asarray(p.x.reshape(*leading, D)))
    dx = linear.backward(backend.asarray(p.dy.reshape(*leading, C)))
    solution = solve_affine(p)
    expected = [solution["y"].reshape(*leading, C), solution["dx"].reshape(*leading, D), solution["dW"], solution["db"]]
    for got, want in zip([y, dx, *linear.grads], expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == dtype
        assert_allclose(backend.to_numpy(got), want, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


def test_an_equal_dtype_is_accepted() -> None:
    """A dtype with metadata is another object than the equal dtype without."""
    linear = Linear.init(D, C, rng=0, backend="numpy")
    x = np.ones((4, D), np.dtype("float32", metadata={"unit": "V"}))
    assert x.dtype is not linear.params[0].dtype
    assert_array_equal(linear(x), linear(np.ones((4, D), "float32")))


def test_an_equal_device_is_accepted() -> None:
    linear = Linear.init(D, C, rng=0, backend=STANDIN)
    with standin.cuda.Device(0):
        x = standin.ones((4, D), "float32")
    assert x.device is not linear.params[0].device
    assert linear(x).device == linear.params[0].device


def test_bad_input(backend: Backend, linear: Linear) -> None:
    xp, init = backend.xp, cast(Any, Linear.init)
    x, narrow = xp.zeros((4, D)), xp.zeros(D)
    linear.forward(x)
    refused(
        *(
            (ValueError, lambda s=s: linear(xp.zeros(s)), f"x has shape {s}", "expects (..., 3)", "W is (3, 5)")
            for s in [(), (D + 1,), (4, D + 1)]
        ),
        (ValueError, lambda: linear.backward(x), "dy has shape (4, 3)", "expects (4, 5)", "the last forward returned"),
        (TypeError, lambda: linear.backward(xp.zeros((4, C)), needs_dx=0), "needs_dx is 0"),  # type: ignore[arg-type]
        (ValueError, lambda: Linear(narrow, narrow), "W has shape (3,)", "expects (D, C)"),
        (ValueError, lambda: Linear(xp.zeros((D, C, 1)), narrow), "W has shape (3, 5, 1)", "expects (D, C)"),
        (ValueError, lambda: Linear(xp.zeros((D, C)), narrow), "b has shape (3,)", "expects (5,)", "W is (3, 5)"),
        (TypeError, lambda: init(D, 2.5), "output_size is 2.5", "expected an integer, at least 1"),
        (ValueError, lambda: init(0, C), "input_size is 0", "expected an integer, at least 1"),
    )
