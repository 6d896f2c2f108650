"""Random arrays depend only on their words and on their number in the stream. They are the same on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from xrnn.backend import Backend
from xrnn.ops.random import Draws, keep, normal

SHAPE = (3, 2, 4)


def lowbias32(key: int) -> int:
    key ^= key >> 16
    key = key * 0x7FEB352D % 2**32
    key ^= key >> 15
    key = key * 0x846CA68B % 2**32
    return key ^ key >> 16


@pytest.mark.parametrize("p", [0.0, 0.3, 0.999])
def test_an_element_is_kept_if_its_hash_reaches_p(backend: Backend, p: float) -> None:
    first, second = map(int, np.random.SeedSequence(7, spawn_key=(1, 5)).generate_state(2))
    hashes = [lowbias32(lowbias32(position ^ first) ^ second) for position in range(24)]
    expected = np.reshape([key >= int(p * 2**32) for key in hashes], SHAPE)
    assert_array_equal(backend.to_numpy(keep(backend.xp, SHAPE, p, (7, 1, 5))), expected)


def test_the_number_of_the_mask_is_the_last_word(backend: Backend) -> None:
    draws = Draws(backend.xp, (7, 1))
    for number in range(3):
        expected = keep(backend.xp, SHAPE, 0.5, (7, 1, number))
        assert_array_equal(backend.to_numpy(draws.keep(SHAPE, 0.5)), backend.to_numpy(expected))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_by_box_and_muller(backend: Backend, dtype: str) -> None:
    shape = (3, 1, 5)  # an odd number
    first, second = map(int, np.random.SeedSequence(7, spawn_key=(1, 5)).generate_state(2))
    u, v = np.reshape([lowbias32(lowbias32(i ^ first) ^ second) + 0.5 for i in range(16)], (2, 8)) / 2**32
    both = np.sqrt(-2 * np.log(u)) * np.stack([np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)])
    found = backend.to_numpy(normal(backend.xp, shape, np.dtype(dtype), (7, 1, 5)))
    assert found.dtype == dtype
    assert_allclose(found, both.ravel()[:15].reshape(shape), rtol=0, atol={"float32": 3e-6, "float64": 1e-14}[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_have_the_moments_of_their_distribution(dtype: str) -> None:
    """Within five standard errors, over rows and over neighbours."""
    x = Draws(np, (3, 4)).normal((1000, 1000), dtype).astype("float64")
    assert np.isfinite(x).all()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < 5 * (variance / x.size) ** 0.5
    assert abs((x[:, 1:] * x[:, :-1]).mean()) < 5e-3
    assert abs((x[1:] * x[:-1]).mean()) < 5e-3
    assert not np.array_equal(Draws(np, (3, 5)).normal((1000,), dtype), x[0].astype(dtype))
