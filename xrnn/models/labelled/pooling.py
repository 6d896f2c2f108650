"""The mean over time of series of different lengths."""

from __future__ import annotations

from typing import Any

from xrnn.typing import Array


class MeanPool:
    """y[n] = Σ h[t, n] / length[n], over t < length[n].

    It has no parameters, and it never makes the host wait for the device.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.weights: Array | None = None  # (T, N, 1): dy[n] / dh[t, n], of the last forward call

    def forward(self, h: Array, lengths: Array) -> Array:
        """h (T, N, H), lengths (N,) integers in [1, T] → y (N, H); keeps the weights for `backward`."""
        self.weights = self._weights(h, lengths)
        return self._mean(h, self.weights)

    def backward(self, dy: Array) -> Array:
        """dh[t, n] = dy[n] / length[n] for t < length[n], else 0.   dy (N, H) → dh (T, N, H)."""
        return dy * self.weights

    def __call__(self, h: Array, lengths: Array) -> Array:
        """Inference: the result of `forward`, without keeping the weights."""
        return self._mean(h, self._weights(h, lengths))

    def _mean(self, h: Array, weights: Array) -> Array:
        y: Array = (h * weights).sum(axis=0)
        return y

    def _weights(self, h: Array, lengths: Array) -> Array:
        inside = self._xp.arange(len(h))[:, None] < lengths
        weights: Array = (inside / lengths).astype(h.dtype)[..., None]
        return weights
