"""Batches: an epoch takes every series once; the seed and the number of the update determine a batch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xrnn.backend import Backend
from xrnn.series.batches import Batches, pack, unpack
from xrnn.typing import HostArray


def some(count: int) -> list[HostArray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1 + i % 4, 3), dtype=np.float32) for i in range(count)]


def batches(count: int = 10, batch: int = 4, seed: int = 0) -> Batches:
    return Batches(some(count), np.arange(count, dtype=np.int32), batch, seed)


def targets(batches: Batches, update: int) -> list[int]:
    buffer, shape = batches.packed(update, 0)
    return list(map(int, unpack(buffer, shape)[2]))


def test_unpack_is_the_inverse_of_pack(backend: Backend) -> None:
    series = some(5)
    buffer, x = pack(series, np.arange(5, dtype=np.int32))
    got, lengths, numbers = (backend.to_numpy(a) for a in unpack(backend.asarray(buffer), x.shape))
    assert got.shape == (4, 5, 3)
    np.testing.assert_array_equal(lengths, [1, 2, 3, 4, 1])
    np.testing.assert_array_equal(numbers, range(5))
    for n, values in enumerate(series):
        np.testing.assert_array_equal(got[: len(values), n], values)
        assert not got[len(values) :, n].any()


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(10, 4, [4, 3, 3]), (8, 4, [4, 4]), (3, 9, [3]), (5, 1, [1] * 5)]
)
def test_an_epoch_takes_each_series_once(count: int, batch: int, sizes: list[int]) -> None:
    of = batches(count, batch)
    assert of.per_epoch == len(sizes)
    epochs = [[targets(of, step) for step in range(e * len(sizes), (e + 1) * len(sizes))] for e in range(3)]
    for epoch in epochs:
        assert sorted(map(len, epoch), reverse=True) == sizes
        assert sorted(itertools.chain(*epoch)) == list(range(count))
    assert count < 5 or epochs[0] != epochs[1] != epochs[2]


def test_the_seed_and_the_update_determine_the_random_draws() -> None:
    buffers = [batches().packed(update, 0.5)[0] for update in range(7)]
    for update in (5, 2, 6):  # in any order
        np.testing.assert_array_equal(batches().packed(update, 0.5)[0], buffers[update])
    assert [targets(batches(seed=1), update) for update in range(3)] != [
        targets(batches(), update) for update in range(3)
    ]


def test_noise_has_the_given_deviation_and_does_not_change_the_series() -> None:
    series = [np.zeros((500, 3), np.float32), np.zeros((500, 3), np.float32)]
    of = Batches(series, np.zeros(2, np.int32), 2, 0)
    x, lengths, numbers = unpack(*of.packed(0, 0.5))
    assert abs(x.std() - 0.5) < 0.02
    assert abs(x.mean()) < 0.05
    np.testing.assert_array_equal([lengths, numbers], [[500, 500], [0, 0]])
    assert not np.array_equal(x, unpack(*of.packed(1, 0.5))[0])
    assert not any(each.any() for each in series)


def test_targets_may_be_numbers(backend: Backend) -> None:
    buffer, x = pack(some(3), np.array([0.5, -1e30, 3], np.float32))
    _, _, got = unpack(backend.asarray(buffer), x.shape, "float32")
    np.testing.assert_array_equal(backend.to_numpy(got), np.array([0.5, -1e30, 3], np.float32))
