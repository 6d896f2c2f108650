"""Linear: y = x @ W + b over any leading axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests import standin
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.reference import solve_affine
from xrnn import Linear, gradcheck
from xrnn.backend import Backend
from xrnn.typing import Array

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


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_an_input_that_is_data_needs_no_gradient(backend: Backend, linear: Linear, leading: tuple[int, ...]) -> None:
    p = problems.affine(math.prod(leading), D, C, "float64")
    x, dy = backend.asarray(p.x.reshape(*leading, D)), backend.asarray(p.dy.reshape(*leading, C))
    linear.forward(x)
    linear.backward(dy)
    expected = [backend.to_numpy(g).copy() for g in linear.grads]
    for gradient in linear.grads:
        gradient[...] = np.nan
    assert linear.backward(dy, needs_dx=False) is None
    for got, want in zip(linear.grads, expected, strict=True):
        assert_array_equal(backend.to_numpy(got), want)


@pytest.mark.parametrize("leading", [(4,), (6, 4)], ids=str)
def test_gradients_match_differences(backend: Backend, linear: Linear, leading: tuple[int, ...]) -> None:
    x = backend.asarray(np.random.default_rng(0).standard_normal((*leading, D)))
    weights = [p.copy() for p in linear.params]

    def forward(x: Array, *weights: Array) -> Array:
        for param, weight in zip(linear.params, weights, strict=True):
            param[...] = weight
        return linear.forward(x)

    gradcheck(forward, lambda u: [linear.backward(u), *linear.grads], [x, *weights])


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


def test_a_call_equals_forward_and_keeps_no_cache(backend: Backend, linear: Linear) -> None:
    x = backend.asarray(np.random.default_rng(0).standard_normal((4, D)))
    called = backend.to_numpy(linear(x))
    assert linear.cache is None
    assert_array_equal(called, backend.to_numpy(linear.forward(x)))


def test_init_gives_the_same_weights_on_every_backend(backend: Backend) -> None:
    W, b = Linear.init(D, C, rng=3, backend=backend).params
    assert W.dtype == b.dtype == np.float32
    assert_array_equal(backend.to_numpy(W), Linear.init(D, C, rng=3, backend="numpy").params[0])
    assert_array_equal(backend.to_numpy(b), np.zeros(C))


def test_bad_input(backend: Backend, linear: Linear) -> None:
    xp = backend.xp
    with one_line(RuntimeError, "backward needs a forward before it"):
        linear.backward(xp.zeros((4, C)))
    for shape in [(), (D + 1,), (4, D + 1), (4, D - 1)]:
        with one_line(ValueError, f"x has shape {shape}", "expects (..., 3)", "W is (3, 5)"):
            linear.forward(xp.zeros(shape))
    refused(
        (TypeError, lambda: linear.forward(xp.zeros((4, D), "int64")), "x has dtype int64", "computes in float64"),
        (TypeError, lambda: linear.forward([[1.0] * D]), "x is a list", "use xrnn.asarray(x)"),  # type: ignore[arg-type]
        (TypeError, lambda: linear.forward((standin if backend.name == "numpy" else np).zeros((4, D))), "x is a"),
    )
    linear.forward(xp.zeros((4, D)))
    with one_line(ValueError, "dy has shape (4, 3)", "expects (4, 5)", "what the last forward returned"):
        linear.backward(xp.zeros((4, D)))
    with one_line(TypeError, "dy has dtype float32", "computes in float64"):
        linear.backward(xp.zeros((4, C), "float32"))


def test_weights_that_do_not_fit(backend: Backend) -> None:
    zeros = backend.xp.zeros
    for shape in [(D,), (D, C, 1)]:
        with one_line(ValueError, f"W has shape {shape}", "expects (D, C)"):
            Linear(zeros(shape), zeros(C))
    refused(
        (ValueError, lambda: Linear(zeros((D, C)), zeros(D)), "b has shape (3,)", "expects (5,)", "W is (3, 5)"),
        (TypeError, lambda: Linear(zeros((D, C)), zeros(C, "float32")), "b has dtype float32", "computes in float64"),
        (TypeError, lambda: Linear.init(D, 2.5), "output_size is 2.5", "expected an integer, at least 1"),  # type: ignore[arg-type]
        (ValueError, lambda: Linear.init(0, C), "input_size is 0", "expected an integer, at least 1"),
    )
