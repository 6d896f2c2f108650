"""Batches of series of different lengths. A batch is one array, so that it takes one transfer to the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from xrnn.sequences import batches
from xrnn.typing import Array, HostArray, Shape

_ORDER: Final = 2  # spawn keys: each gives an independent random stream of the seed
_NOISE: Final = 3
_START: Final = 5


class Batches:
    """Every epoch takes each series once, in a new order, in batches of at most `batch`.

    series    (T, D) float32 each; targets (count,): int32 indices of labels, or float32
    starts    (count,): an update draws the first step of a series from 0, …, starts - 1; None: it is 0
    cut       (index of a series, first step > 0) → the rest of the series, which is not longer than the complete one

    The seed and the number of the update determine all random draws.
    """

    def __init__(
        self,
        series: Sequence[HostArray],
        targets: HostArray,
        batch: int,
        seed: int,
        starts: HostArray | None = None,
        cut: Callable[[int, int], HostArray] | None = None,
    ) -> None:
        self._series, self._targets, self._seed = series, targets, seed
        self._starts, self._cut = starts, cut
        self._batch = batch
        self.target_dtype = targets.dtype.name
        self._lengths = np.array([len(values) for values in series])
        self.per_epoch = -(-len(series) // batch)
        self._epoch, self._chosen = -1, [np.zeros(0, np.int64)]  # the series of each batch of the epoch

    def packed(self, update: int, noise: float) -> tuple[HostArray, Shape]:
        """The buffer that `pack` makes of an update's batch, and the shape of x.

        noise   standard deviation of the added noise
        """
        chosen = self._batch_of(update)
        T, N = int(self._lengths[chosen].max()), len(chosen)
        starts = np.zeros(N, int) if self._starts is None else self._rng(_START, update).integers(self._starts[chosen])
        taken = zip(chosen.tolist(), starts.tolist(), strict=True)
        series = [self._cut(i, start) if self._cut and start else self._series[i] for i, start in taken]
        buffer, x = pack(series, self._targets[chosen])
        if noise:
            drawn = self._rng(_NOISE, update).standard_normal((T, *x.shape[1:]), dtype=np.float32)
            x += np.float32(noise) * drawn[: len(x)]
        return buffer, x.shape

    def _batch_of(self, update: int) -> HostArray:
        """The indices of the series in an update's batch."""
        epoch, number = divmod(update, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._chosen = epoch, batches(self._lengths, self._batch, rng=self._rng(_ORDER, epoch))
        return self._chosen[number]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))


def pack(series: Sequence[HostArray], targets: HostArray) -> tuple[HostArray, HostArray]:
    """Put a batch into one float32 buffer: x (T, N, D), then the bits of the lengths and of the targets, (N,) each.

    T is the longest length; x is 0 past the end of a series. targets: int32 or float32.

    → the buffer, and x, a view of it
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
