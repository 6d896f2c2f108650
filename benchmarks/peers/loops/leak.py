"""y[t] = tanh(x[t] @ Wx + h[t-1] @ Wh + b);  h[t] = h[t-1] + a·(y[t] - h[t-1])."""

from __future__ import annotations

import numpy as np

from benchmarks.cases import LEAK
from xrnn.typing import HostArray


def forward(
    x: HostArray, h_prev: HostArray, Wx: HostArray, Wh: HostArray, b: HostArray, add: HostArray | None = None
) -> tuple[HostArray, HostArray]:
    T, N, D = x.shape
    H = len(b)
    hs = np.empty((T + 1, N, H), x.dtype)
    hs[0] = h_prev
    ys = np.matmul(x.reshape(T * N, D), Wx).reshape(T, N, H)
    ys += b
    if add is not None:
        ys += add
    recurrent = np.empty((N, H), x.dtype)
    for t in range(T):
        ys[t] += np.matmul(hs[t], Wh, out=recurrent)
        np.tanh(ys[t], out=ys[t])
        np.subtract(ys[t], hs[t], out=hs[t + 1])
        hs[t + 1] *= LEAK
        hs[t + 1] += hs[t]
    return hs, ys


def backward(
    dh: HostArray, hs: HostArray, ys: HostArray, x: HostArray, Wx: HostArray, Wh: HostArray
) -> tuple[HostArray, ...]:
    T, N, D = x.shape
    H = len(Wh)
    WhT = np.ascontiguousarray(Wh.T)
    dz = np.multiply(ys, ys)
    np.subtract(1, dz, out=dz)
    dz *= LEAK
    dh_prev = np.zeros((N, H), x.dtype)
    past = np.empty((N, H), x.dtype)
    for t in reversed(range(T)):
        dh_prev += dh[t]
        dz[t] *= dh_prev
        np.multiply(dh_prev, 1 - LEAK, out=past)
        np.matmul(dz[t], WhT, out=dh_prev)
        dh_prev += past
    rows = dz.reshape(T * N, H)
    dx = (rows @ Wx.T).reshape(T, N, D)
    return dx, dh_prev, x.reshape(T * N, D).T @ rows, hs[:-1].reshape(T * N, H).T @ rows, rows.sum(0)
