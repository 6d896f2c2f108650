"""Initial weights: their distributions, and equal weights from equal seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from xrnn import init
from xrnn.typing import HostArray


@pytest.mark.parametrize(("fan_in", "fan_out"), [(1, 1), (3, 200), (300, 50)])
def test_glorot_uniform(fan_in: int, fan_out: int) -> None:
    draws = np.concatenate([init.glorot_uniform(np.random.default_rng(i), fan_in, fan_out).ravel() for i in range(200)])
    bound = np.sqrt(6 / (fan_in + fan_out))
    assert draws.size == 200 * fan_in * fan_out
    assert abs(draws).max() <= bound
    # A uniform distribution in ±bound has mean 0 and standard deviation bound / √3; four standard errors.
    assert abs(draws.mean()) < 4 * bound / np.sqrt(3 * draws.size)
    assert_allclose(draws.std(), bound / np.sqrt(3), rtol=4 * np.sqrt(0.2 / draws.size))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_orthogonal(size: int) -> None:
    q = init.orthogonal(np.random.default_rng(0), size)
    assert q.shape == (size, size)
    assert_allclose(q.T @ q, np.eye(size), atol=1e-14)
    assert_allclose(q @ q.T, np.eye(size), atol=1e-14)


def test_orthogonal_is_uniform() -> None:
    """Uniform over the group: every element has mean 0 and variance 1/n. After QR alone, q[0, 0] is always negative."""
    qs = np.stack([init.orthogonal(np.random.default_rng(i), 3) for i in range(2000)])
    assert_allclose(qs.mean(axis=0), 0, atol=5 / np.sqrt(3 * 2000))
    assert_allclose((qs**2).mean(axis=0), 1 / 3, atol=0.04)
    assert abs((np.linalg.det(qs) > 0).mean() - 0.5) < 0.06


@pytest.mark.parametrize("draw", [lambda rng: init.glorot_uniform(rng, 3, 4), lambda rng: init.orthogonal(rng, 4)])
def test_a_seed_determines_the_weights(draw: Callable[[np.random.Generator], HostArray]) -> None:
    first = draw(init.as_generator(5))
    assert_array_equal(draw(init.as_generator(np.random.default_rng(5))), first)
    assert (draw(init.as_generator(6)) != first).any()
    assert (draw(init.as_generator(None)) != draw(init.as_generator(None))).any()


def test_a_generator_advances() -> None:
    rng = np.random.default_rng(0)
    assert init.as_generator(rng) is rng
    assert (init.orthogonal(rng, 4) != init.orthogonal(rng, 4)).any()


@pytest.mark.parametrize("dtype", ["float32", "f4", np.float32, np.dtype("float32")])
def test_all_spellings_of_a_dtype(dtype: object) -> None:
    assert init.as_dtype(dtype) == np.float32
