"""f, i, y = σ(z_f), σ(z_i), z_y of z = x[t] @ Wx + b;  h[t] = (f·h[t-1] + i·y) / (f + i)   (minLSTM)."""

from __future__ import annotations

import numpy as np

from xrnn.typing import HostArray

Kept = tuple[HostArray, HostArray]  # f, i, y (T, N, 3H), w = i / (f + i) (T, N, H)


def forward(x: HostArray, h_prev: HostArray, Wx: HostArray, Wh: HostArray, b: HostArray) -> tuple[HostArray, Kept]:
    T, N, D = x.shape
    H = len(Wh)
    hs = np.empty((T + 1, N, H), x.dtype)
    hs[0] = h_prev
    z = np.matmul(x.reshape(T * N, D), Wx).reshape(T, N, 3 * H)
    z += b
    gates, y = z[:, :, : 2 * H], z[:, :, 2 * H :]
    gates *= 0.5  # σ(z) = tanh(z / 2) / 2 + 1/2
    np.tanh(gates, out=gates)
    gates *= 0.5
    gates += 0.5
    w = gates[:, :, :H] + gates[:, :, H:]
    np.divide(gates[:, :, H:], w, out=w)
    for t in range(T):
        np.subtract(y[t], hs[t], out=hs[t + 1])
        hs[t + 1] *= w[t]
        hs[t + 1] += hs[t]
    return hs, (z, w)


def backward(
    dh: HostArray, hs: HostArray, kept: Kept, x: HostArray, Wx: HostArray, Wh: HostArray
) -> tuple[HostArray, ...]:
    z, w = kept
    T, N, D = x.shape
    H = len(Wh)
    rest = 1 - w
    dz = np.empty_like(z)  # the factors of dh; the loop turns them into dz
    df, di, dy = dz[:, :, :H], dz[:, :, H : 2 * H], dz[:, :, 2 * H :]
    np.subtract(z[:, :, 2 * H :], hs[:-1], out=dy)
    dy *= w
    dy *= rest
    np.subtract(z[:, :, :H], 1, out=df)
    df *= dy
    np.subtract(1, z[:, :, H : 2 * H], out=di)
    di *= dy
    dy[...] = w
    dh_prev = np.zeros((N, H), x.dtype)
    for t in reversed(range(T)):
        dh_prev += dh[t]
        dz[t].reshape(N, 3, H)[...] *= dh_prev[:, None]
        dh_prev *= rest[t]
    rows = dz.reshape(T * N, 3 * H)
    return (rows @ Wx.T).reshape(T, N, D), dh_prev, x.reshape(T * N, D).T @ rows, np.zeros_like(Wh), rows.sum(0)
