"""A random mask depends only on its words and on its number in the stream. It is the same on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from xrnn.backend import Backend
from xrnn.ops.random import Draws, keep

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
