"""u, y = σ(z_u), z_y of z = x[t] @ Wx + b;  h[t] = h[t-1] + u·(y - h[t-1])   (minGRU)."""

from __future__ import annotations

import numpy as np

from xrnn.typing import HostArray

Kept = HostArray  # u, y (T, N, 2H)


def forward(x: HostArray, h_prev: HostArray, Wx: HostArray, Wh: HostArray, b: HostArray) -> tuple[HostArray, Kept]:
    T, N, D = x.shape
    H = len(Wh)
    hs = np.empty((T + 1, N, H), x.dtype)
    hs[0] = h_prev
    z = np.matmul(x.reshape(T * N, D), Wx).reshape(T, N, 2 * H)
    z += b
    u, y = z[:, :, :H], z[:, :, H:]
    u *= 0.5  # σ(z) = tanh(z / 2) / 2 + 1/2
    np.tanh(u, out=u)
    u *= 0.5
    u += 0.5
    for t in range(T):
        np.subtract(y[t], hs[t], out=hs[t + 1])
        hs[t + 1] *= u[t]
        hs[t + 1] += hs[t]
    return hs, z


def backward(
    dh: HostArray, hs: HostArray, kept: Kept, x: HostArray, Wx: HostArray, Wh: HostArray
) -> tuple[HostArray, ...]:
    T, N, D = x.shape
    H = len(Wh)
    u, y = kept[:, :, :H], kept[:, :, H:]
    rest = 1 - u
    dz = np.empty_like(kept)  # the factors of dh; the loop turns them into dz
    np.subtract(y, hs[:-1], out=dz[:, :, :H])
    dz[:, :, :H] *= u
    dz[:, :, :H] *= rest
    dz[:, :, H:] = u
    dh_prev = np.zeros((N, H), x.dtype)
    for t in reversed(range(T)):
        dh_prev += dh[t]
        dz[t].reshape(N, 2, H)[...] *= dh_prev[:, None]
        dh_prev *= rest[t]
    rows = dz.reshape(T * N, 2 * H)
    return (rows @ Wx.T).reshape(T, N, D), dh_prev, x.reshape(T * N, D).T @ rows, np.zeros_like(Wh), rows.sum(0)
