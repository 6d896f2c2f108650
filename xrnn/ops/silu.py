"""silu(x) = x σ(x), its derivative, σ, and softplus, as new arrays."""

from __future__ import annotations

from typing import Any

from xrnn.ops.cells import gates
from xrnn.typing import Array


def sigmoid(xp: Any, x: Array) -> Array:
    y: Array = xp.array(x)
    gates.sigmoid(xp, y)
    return y


def silu(xp: Any, x: Array) -> Array:
    return x * sigmoid(xp, x)


def silu_slope(xp: Any, x: Array) -> Array:
    """The derivative of silu."""
    s = sigmoid(xp, x)
    return s * (1 + x * (1 - s))


def softplus(xp: Any, x: Array) -> Array:
    """log(1 + eˣ)."""
    y: Array = xp.log1p(xp.exp(-xp.abs(x)))
    y += xp.maximum(x, 0)
    return y
