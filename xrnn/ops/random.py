"""Random numbers that are a function of a seed and a position: the same on every backend, and after a resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import numpy as np

from xrnn.typing import Array


class Draws:
    """A stream of random arrays. Array number k is a function of k and `words`, such as a seed and a count."""

    def __init__(self, xp: Any, words: Sequence[int]) -> None:
        self._xp = xp
        self._words = tuple(words)
        self._count = 0

    def keep(self, shape: tuple[int, ...], p: float) -> Array:
        """A bool array, each element False with probability p in [0, 1)."""
        return keep(self._xp, shape, p, self._next_words())

    def normal(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Numbers of the standard normal distribution, float32 or float64.

        Between backends they differ in rounding.
        """
        return normal(self._xp, shape, dtype, self._next_words())

    def _next_words(self) -> tuple[int, ...]:
        self._count += 1
        return *self._words, self._count - 1


class _NoDraws(Draws):
    """The `Draws` of a run that has no random numbers. Each use raises RuntimeError."""

    def __init__(self) -> None:
        super().__init__(None, ())

    def keep(self, shape: tuple[int, ...], p: float) -> NoReturn:
        _refuse_draw()

    def normal(self, shape: tuple[int, ...], dtype: Any) -> NoReturn:
        _refuse_draw()


def _refuse_draw() -> NoReturn:
    raise RuntimeError(
        "run.draws has no random numbers in this run: set draws = True in the class of the cell, and use run.draws "
        "only if run.training is True"
    )


NO_DRAWS: Final[Draws] = _NoDraws()


def keep(xp: Any, shape: tuple[int, ...], p: float, words: Sequence[int]) -> Array:
    """A bool array. An element is False if the hash of (words, position) is below p · 2³²: with probability p."""
    return (_hashes(xp, math.prod(shape), words) >= xp.uint32(int(p * 2**32))).reshape(shape)


def normal(xp: Any, shape: tuple[int, ...], dtype: Any, words: Sequence[int]) -> Array:
    """Numbers of the standard normal distribution: √(-2 ln u) · cos(2π v) and · sin(2π v), u and v uniform in [0, 1].

    (Box and Muller, 1958.) u is at least 2⁻³³, so that no number is beyond ±6.8.
    """
    size = math.prod(shape)
    half = (size + 1) // 2
    uniform = (_hashes(xp, 2 * half, words).astype(dtype) + 0.5) * 2.0**-32
    radius = xp.sqrt(-2 * xp.log(uniform[:half]))
    angle = 2 * math.pi * uniform[half:]
    return xp.concatenate((radius * xp.cos(angle), radius * xp.sin(angle)))[:size].reshape(shape)


def _hashes(xp: Any, size: int, words: Sequence[int]) -> Array:
    """uint32 (size,): the hash of (words, position)."""
    keys = xp.arange(size, dtype=xp.uint32)
    # SeedSequence hashes the words on the host, so that neighbouring words give unrelated keys.
    seed, *rest = words
    for word in np.random.SeedSequence(seed, spawn_key=tuple(rest)).generate_state(2):
        keys ^= word
        _mix(xp, keys)
    return keys


def _mix(xp: Any, keys: Array) -> None:
    """The 32-bit integer hash "lowbias32" of C. Wellons' hash-prospector, in place."""
    keys ^= keys >> 16
    keys *= xp.uint32(0x7FEB352D)
    keys ^= keys >> 15
    keys *= xp.uint32(0x846CA68B)
    keys ^= keys >> 16
