"""What gated cells share."""

from __future__ import annotations

from typing import Any

from xrnn.typing import Array


def sigmoid(xp: Any, z: Array) -> None:
    """z = σ(z) = (1 + tanh(z / 2)) / 2, in place. By tanh nothing overflows, and no exponential is divided by."""
    z *= 0.5
    xp.tanh(z, out=z)
    z *= 0.5
    z += 0.5
