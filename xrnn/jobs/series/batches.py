"""Batches of series of different lengths. A batch is one array, so that it takes one transfer to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from xrnn.sequences import batches
from xrnn.typing import Array, HostArray

_ORDER: Final = 2  # keys of independent random draws under one seed
_NOISE: Final = 3

Shape = tuple[int, ...]


def updates_per_epoch(count: int, batch: int) -> int:
    """The number of batches that `count` series are divided into."""
    return -(-count // batch)


class Batches:
    """Every epoch takes each series once, in a new order, in batches of at most `batch`.

    series    (T, D) float32 each; targets (count,) int32, the numbers of their labels, or float32
    noisy     the number of channels that noise is added to: the first ones

    The seed and the number of the update determine all random draws, so a resumed run can start within an epoch.
    """

    def __init__(self, series: Sequence[HostArray], targets: HostArray, batch: int, seed: int, noisy: int) -> None:
        self._series, self._targets, self._seed, self._noisy = series, targets, seed, noisy
        self.count, self._batch = len(series), batch
        self._lengths = np.array([len(values) for values in series])
        self.per_epoch = updates_per_epoch(len(series), batch)
        self._epoch, self._places = -1, [np.zeros(0, np.int64)]

    def packed(self, update: int, noise: float) -> tuple[HostArray, Shape]:
        """The batch of an update, as `pack` returns it, and the shape of x.   noise: the deviation of added noise."""
        epoch, place = divmod(update, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._places = epoch, batches(self._lengths, self._batch, rng=self._rng(_ORDER, epoch))
        chosen = self._places[place]
        buffer, x = pack([self._series[i] for i in chosen.tolist()], self._targets[chosen])
        if noise:
            values = x[..., : self._noisy]
            values += np.float32(noise) * self._rng(_NOISE, update).standard_normal(values.shape, dtype=np.float32)
        return buffer, x.shape

    def items(self, updates: int) -> int:
        """The number of series in the first `updates` batches, as if all batches of an epoch had the same size."""
        return updates * self.count // self.per_epoch

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))


def pack(series: Sequence[HostArray], targets: HostArray) -> tuple[HostArray, HostArray]:
    """One float32 buffer: x (T, N, D) with T the longest length, then the bits of lengths and targets, (N,) each.

    → the buffer, and x, a view of it.   targets: int32 or float32
    """
    lengths = np.array([len(values) for values in series], np.int32)
    T, N, D = int(lengths.max()), len(series), series[0].shape[1]  # int: T · N · D may exceed int32
    buffer = np.zeros(T * N * D + 2 * N, np.float32)
    x = buffer[: T * N * D].reshape(T, N, D)
    for n, values in enumerate(series):
        x[: len(values), n] = values
    buffer[T * N * D :].view(np.int32)[:] = np.concatenate([lengths, targets.view(np.int32)])
    return buffer, x


def unpack(buffer: Array, shape: Shape, dtype: str = "int32") -> tuple[Array, Array, Array]:
    """x (T, N, D), lengths (N,) int32 and targets (N,) of `dtype`: views of a buffer from `pack`, on any device."""
    T, N, D = shape
    tail = buffer[T * N * D :]
    return buffer[: T * N * D].reshape(shape), tail[:N].view("int32"), tail[N:].view(dtype)
