"""What gated cells share."""

from __future__ import annotations

from typing import Any

from xrnn.typing import Array


def half(xp: Any, dtype: Any) -> Array:
    """1/2 as a 0-d array, for every step: NumPy converts a number at each use, which takes longer than a small gate."""
    made: Array = xp.empty((), dtype)
    made.fill(0.5)
    return made


def sigmoid(xp: Any, z: Array, half: Any = 0.5) -> None:
    """z = σ(z) = (1 + tanh(z / 2)) / 2, in place. By tanh nothing overflows, and no exponential is divided by."""
    z *= half
    xp.tanh(z, out=z)
    z *= half
    z += half
