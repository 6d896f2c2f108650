"""gradcheck accepts correct gradients and refuses wrong ones; its message has both numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line, refused
from xrnn import RNN, GradientMismatchError, gradcheck
from xrnn.backend import Backend
from xrnn.typing import Array


def check_product(backend: Backend, backward: Callable[[Array, Array, Array], list[Array]]) -> None:
    """gradcheck of y = a @ b with the backward pass `backward(u, a, b)`."""
    a, b = (backend.asarray(np.random.default_rng(i).standard_normal(s)) for i, s in enumerate([(3, 4), (4, 2)]))
    gradcheck(lambda a, b: a @ b, lambda u: backward(u, a, b), [a, b], names=["a", "b"])


@pytest.mark.parametrize("error", [1e-4, 1.0, -2.0, -1.0])  # -1: a gradient that is never written
def test_a_wrong_gradient_is_caught_with_both_numbers(backend: Backend, error: float) -> None:
    with pytest.raises(GradientMismatchError) as caught:
        check_product(backend, lambda u, a, b: [u @ b.T, (1 + error) * (a.T @ u)])
    message = str(caught.value)
    found = re.fullmatch(
        r"the gradient of b along a random direction is (\S+) by backward, but (\S+) by differences of forward", message
    )
    assert found, message
    by_backward, by_differences = map(float, found.groups())
    assert by_backward == pytest.approx((1 + error) * by_differences, rel=1e-6)


def test_one_wrong_element_and_nan_are_caught(backend: Backend) -> None:
    def backward(u: Array, a: Array, b: Array) -> list[Array]:
        da = u @ b.T
        da[1, 2] += 1e-3
        return [da, a.T @ u]

    def refuses(backward: Callable[[Array, Array, Array], list[Array]], *words: str) -> Any:
        return GradientMismatchError, lambda: check_product(backend, backward), *words

    along = "the gradient of a along a random direction is "
    refused(
        refuses(backward, along),
        refuses(lambda u, a, b: [np.nan * (u @ b.T), a.T @ u], along + "nan by backward"),
        refuses(lambda u, a, b: [(u @ b.T).T, a.T @ u], "of a has shape (4, 3)", "expected (3, 4)"),
        refuses(lambda u, a, b: [u @ b.T], "backward returned 1 gradients for 2 arguments"),
    )


def test_a_missing_gradient_is_named(backend: Backend) -> None:
    rnn = RNN.init(3, 4, rng=0, dtype="float64", backend=backend)
    x, h_prev = (backend.xp.ones(shape) for shape in [(5, 2, 3), (2, 4)])
    with one_line(GradientMismatchError, "the gradient of x is None", "expected an array of shape (5, 2, 3)"):
        gradcheck(rnn.forward, lambda u: rnn.backward(u, needs_dx=False), [x, h_prev], names=["x", "h_prev"])
    gradcheck(lambda h: rnn.forward(x, h), lambda u: rnn.backward(u, needs_dx=False)[1:], [h_prev], names=["h_prev"])


def test_the_tolerance_covers_the_rounding_of_the_values(backend: Backend) -> None:
    """Differences of values near a million keep few digits. Those of a constant have no rounding if it is 0."""
    draws = backend.asarray(np.random.default_rng(0).standard_normal(50))
    gradcheck(lambda a: a + 1e6, lambda u: [u], [draws])
    gradcheck(lambda a: 0 * a + 1, lambda u: [0 * u], [draws])
    gradcheck(lambda a: 0 * a, lambda u: [0 * u], [draws])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_tolerance_follows_the_size_of_the_values(backend: Backend, scale: float) -> None:
    a = backend.asarray(scale * np.random.default_rng(0).standard_normal(50))
    gradcheck(lambda a: a * a * a, lambda u: [3 * u * a * a], [a], eps=1e-6 * scale)
    with pytest.raises(GradientMismatchError):
        gradcheck(lambda a: a * a * a, lambda u: [2.99 * u * a * a], [a], eps=1e-6 * scale)


def test_each_argument_has_a_name(backend: Backend) -> None:
    for names in (["a"], ["a", "b", "c"]):
        with one_line(ValueError, f"got {len(names)} names for 2 arguments", "expected a name for each"):
            gradcheck(lambda a, b: a * b, lambda u: [u, u], [backend.xp.ones(3), backend.xp.ones(3)], names=names)


def test_other_dtypes_are_refused(backend: Backend) -> None:
    for dtype in ("float32", "int64"):
        with one_line(TypeError, f"x has dtype {dtype}", "need float64", "x.astype('float64')"):
            gradcheck(lambda x: x, lambda u: [u], [backend.xp.ones(3, dtype)], names=["x"])
    with one_line(TypeError, "argument 0 is a list", "expected an array"):
        gradcheck(lambda x: x, lambda u: [u], [[1.0]])  # type: ignore[list-item]
