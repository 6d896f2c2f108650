"""The recurrence in float64, step by step as the textbook writes it: nothing hoisted, nothing fused, nothing reused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

HostArray = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Gradients:
    """Of ⟨dh, h⟩, in the order of the layer: dx, dh_prev, then the weights."""

    dx: HostArray
    dh_prev: HostArray
    dWx: HostArray
    dWh: HostArray
    db: HostArray


def rnn_forward(x: HostArray, h_prev: HostArray, weights: Iterable[HostArray], nonlinearity: str = "tanh") -> HostArray:
    """x (T, N, D), h_prev (N, H), weights Wx, Wh, b → hs (T+1, N, H) in float64, h_prev first."""
    x, h, Wx, Wh, b = (np.asarray(a, np.float64) for a in (x, h_prev, *weights))
    hs = [h]
    for x_t in x:
        z = x_t @ Wx + h @ Wh + b
        h = np.tanh(z) if nonlinearity == "tanh" else np.maximum(z, 0)
        hs.append(h)
    return np.stack(hs)


def rnn_backward(
    x: HostArray, hs: HostArray, weights: Iterable[HostArray], dh: HostArray, nonlinearity: str = "tanh"
) -> Gradients:
    """Backpropagation through time, with every gradient summed step by step."""
    x, hs, dh, Wx, Wh, _ = (np.asarray(a, np.float64) for a in (x, hs, dh, *weights))
    (T, N, D), H = x.shape, len(Wh)
    dx, dh_next = np.zeros((T, N, D)), np.zeros((N, H))
    dWx, dWh, db = np.zeros((D, H)), np.zeros((H, H)), np.zeros(H)
    for t in reversed(range(T)):
        h = hs[t + 1]
        slope = 1 - h**2 if nonlinearity == "tanh" else np.where(h > 0, 1.0, 0.0)
        dz = (dh[t] + dh_next) * slope
        dx[t] = dz @ Wx.T
        dh_next = dz @ Wh.T
        dWx += x[t].T @ dz
        dWh += hs[t].T @ dz
        db += dz.sum(axis=0)
    return Gradients(dx, dh_next, dWx, dWh, db)
