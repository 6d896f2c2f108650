"""Random numbers that are a function of a seed and a position: the same on every backend, and after a resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xrnn.typing import Array


class Draws:
    """A stream of random arrays. Array number k is a function of k and `words`, such as a seed and a count."""

    def __init__(self, xp: Any, words: Sequence[int]) -> None:
        self._xp, self._words = xp, tuple(words)
        self._count = 0

    def keep(self, shape: tuple[int, ...], p: float) -> Array:
        """A bool array, each element False with probability p in [0, 1)."""
        self._count += 1
        return keep(self._xp, shape, p, (*self._words, self._count - 1))


def keep(xp: Any, shape: tuple[int, ...], p: float, words: Sequence[int]) -> Array:
    """A bool array. An element is False if the hash of (words, position) is below p · 2³²: with probability p."""
    size = 1
    for length in shape:
        size *= length
    keys = xp.arange(size, dtype=xp.uint32)
    # SeedSequence hashes the words on the host, so that neighbouring words give unrelated keys.
    seed, *rest = words
    for word in np.random.SeedSequence(seed, spawn_key=tuple(rest)).generate_state(2):
        keys ^= word
        _mix(xp, keys)
    return (keys >= xp.uint32(int(p * 2**32))).reshape(shape)


def _mix(xp: Any, keys: Array) -> None:
    """The 32-bit integer hash "lowbias32" of C. Wellons' hash-prospector, in place."""
    keys ^= keys >> 16
    keys *= xp.uint32(0x7FEB352D)
    keys ^= keys >> 15
    keys *= xp.uint32(0x846CA68B)
    keys ^= keys >> 16
