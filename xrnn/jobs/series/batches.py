"""Batches of series of different lengths, each in one piece, so that it takes one transfer to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from xrnn.typing import Array, HostArray

_ORDER: Final = 2  # tells the draws of an epoch's order, and those of a step's noise, from the seed's others
_NOISE: Final = 3
_DRAWN_TOGETHER: Final = 4  # batches; with more, a batch would hold fewer kinds of series

Shape = tuple[int, ...]


class Batches:
    """Every epoch takes each series once, in an order of its own, in batches of at most `batch`.

    series    (T, D) float32 each; targets (count,) int32, their labels' numbers

    The seed and the step decide all that is drawn: a resumed run goes on in the middle of an epoch.
    """

    def __init__(self, series: Sequence[HostArray], targets: HostArray, batch: int, seed: int) -> None:
        self._series, self._targets, self._seed = series, targets, seed
        self.count = len(series)
        self._lengths = np.array([len(values) for values in series])
        self.per_epoch = -(-len(series) // batch)
        self._epoch, self._places = -1, [np.zeros(0, np.int64)]

    def packed(self, step: int, noise: float) -> tuple[HostArray, Shape]:
        """The batch of `step`, with noise of that deviation added to its values, as `pack` gives it; T, N and D."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._places = epoch, self._parted(self._rng(_ORDER, epoch))
        chosen = self._places[place]
        whole, x = pack([self._series[i] for i in chosen.tolist()], self._targets[chosen])
        if noise:
            x += np.float32(noise) * self._rng(_NOISE, step).standard_normal(x.shape, dtype=np.float32)
        return whole, x.shape

    def items(self, step: int) -> int:
        """How many series the steps before `step` took, within an epoch as if all batches were alike."""
        return step * self.count // self.per_epoch

    def _parted(self, rng: np.random.Generator) -> list[HostArray]:
        """The places of an epoch's series, a batch each.

        A batch costs by its longest series. So a few batches are drawn at a time, and their series sorted by length
        before they are dealt out. More than half an epoch at a time would give every epoch much the same batches.
        """
        pool = max(1, min(_DRAWN_TOGETHER, self.per_epoch // 2))
        drawn = np.array_split(rng.permutation(self.count), self.per_epoch)
        batches: list[HostArray] = []
        for first in range(0, self.per_epoch, pool):
            together = drawn[first : first + pool]
            by_length = np.concatenate(together)
            by_length = by_length[np.argsort(self._lengths[by_length], kind="stable")]
            batches += np.split(by_length, np.cumsum([len(batch) for batch in together])[:-1])
        return [batches[i] for i in rng.permutation(self.per_epoch)]

    def _rng(self, *words: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=words))


def pack(series: Sequence[HostArray], targets: HostArray) -> tuple[HostArray, HostArray]:
    """One float32 array: x (T, N, D), T the longest, then the bits of the lengths (N,) and targets (N,), int32.

    → that array, and the x in it.
    """
    lengths = np.array([len(values) for values in series], np.int32)
    T, N, D = int(lengths.max()), len(series), series[0].shape[1]  # T · N · D may be beyond int32
    whole = np.zeros(T * N * D + 2 * N, np.float32)
    x = whole[: T * N * D].reshape(T, N, D)
    for n, values in enumerate(series):
        x[: len(values), n] = values
    whole[T * N * D :].view(np.int32)[:] = np.concatenate([lengths, targets])
    return whole, x


def unpack(whole: Array, shape: Shape) -> tuple[Array, Array, Array]:
    """x (T, N, D), lengths (N,) and targets (N,) int32: views of what `pack` gave, on any device."""
    T, N, D = shape
    index = whole[T * N * D :].view("int32")
    return whole[: T * N * D].reshape(shape), index[:N], index[N:]
