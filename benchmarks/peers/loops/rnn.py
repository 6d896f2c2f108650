"""h[t] = tanh(x[t] @ Wx + h[t-1] @ Wh + b)."""

from __future__ import annotations

import numpy as np

from xrnn.typing import HostArray


def forward(x: HostArray, h_prev: HostArray, Wx: HostArray, Wh: HostArray, b: HostArray) -> tuple[HostArray, tuple[()]]:
    T, N, D = x.shape
    H = len(b)
    hs = np.empty((T + 1, N, H), x.dtype)
    hs[0] = h_prev
    np.matmul(x.reshape(T * N, D), Wx, out=hs[1:].reshape(T * N, H))
    hs[1:] += b
    z = np.empty((N, H), x.dtype)
    for t in range(T):
        np.matmul(hs[t], Wh, out=z)
        z += hs[t + 1]
        np.tanh(z, out=hs[t + 1])
    return hs, ()


def backward(
    dh: HostArray, hs: HostArray, kept: tuple[()], x: HostArray, Wx: HostArray, Wh: HostArray
) -> tuple[HostArray, ...]:
    T, N, D = x.shape
    H = len(Wh)
    WhT = np.ascontiguousarray(Wh.T)
    dz = np.multiply(hs[1:], hs[1:])
    np.subtract(1, dz, out=dz)
    dh_prev = np.zeros((N, H), x.dtype)
    for t in reversed(range(T)):
        dh_prev += dh[t]
        dz[t] *= dh_prev
        np.matmul(dz[t], WhT, out=dh_prev)
    rows = dz.reshape(T * N, H)
    dx = (rows @ Wx.T).reshape(T, N, D)
    return dx, dh_prev, x.reshape(T * N, D).T @ rows, hs[:-1].reshape(T * N, H).T @ rows, rows.sum(0)
