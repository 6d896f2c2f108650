"""Functions that several cells use."""

from __future__ import annotations

from typing import Any

from xrnn.typing import Array


def scalar(xp: Any, dtype: Any, value: float) -> Array:
    """A 0-d array. NumPy converts a Python number at each use, which takes longer than a small gate."""
    made: Array = xp.empty((), dtype)
    made.fill(value)
    return made


def half(xp: Any, dtype: Any) -> Array:
    return scalar(xp, dtype, 0.5)


def sigmoid(xp: Any, z: Array, half: Any = 0.5) -> None:
    """z = σ(z) = (1 + tanh(z / 2)) / 2, in place. Unlike an exponential, tanh cannot overflow."""
    z *= half
    xp.tanh(z, out=z)
    z *= half
    z += half
