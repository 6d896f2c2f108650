"""i, f, g, o = σ, σ, tanh, σ of x[t] @ Wx + h[t-1] @ Wh + b;  c[t] = f·c[t-1] + i·g;  h[t] = o·tanh(c[t])."""

from __future__ import annotations

import numpy as np

from xrnn.typing import HostArray

Kept = tuple[HostArray, HostArray, HostArray]  # the gates (T, N, 4, H), c (T+1, N, H), tanh(c) (T, N, H)


def forward(
    x: HostArray, h_prev: HostArray, c_prev: HostArray, Wx: HostArray, Wh: HostArray, b: HostArray
) -> tuple[HostArray, Kept]:
    T, N, D = x.shape
    H = len(Wh)
    hs, cs = (np.empty((T + 1, N, H), x.dtype) for _ in range(2))
    hs[0], cs[0] = h_prev, c_prev
    s = np.empty((T, N, H), x.dtype)
    z = np.matmul(x.reshape(T * N, D), Wx).reshape(T, N, 4 * H)
    z += b
    # σ(z) = tanh(z / 2) / 2 + 1/2: one tanh for all four gates.
    scale, shift = np.full(4 * H, 0.5, x.dtype), np.full(4 * H, 0.5, x.dtype)
    scale[2 * H : 3 * H], shift[2 * H : 3 * H] = 1, 0
    recurrent, ig = np.empty((N, 4 * H), x.dtype), np.empty((N, H), x.dtype)
    for t in range(T):
        gates = z[t]
        gates += np.matmul(hs[t], Wh, out=recurrent)
        gates *= scale
        np.tanh(gates, out=gates)
        gates *= scale
        gates += shift
        i, f, g, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H : 3 * H], gates[:, 3 * H :]
        np.multiply(f, cs[t], out=cs[t + 1])
        cs[t + 1] += np.multiply(i, g, out=ig)
        np.tanh(cs[t + 1], out=s[t])
        np.multiply(o, s[t], out=hs[t + 1])
    return hs, (z.reshape(T, N, 4, H), cs, s)


def backward(
    dh: HostArray, hs: HostArray, kept: Kept, x: HostArray, Wx: HostArray, Wh: HostArray
) -> tuple[HostArray, ...]:
    gates, cs, s = kept
    T, N, D = x.shape
    H = len(Wh)
    WhT = np.ascontiguousarray(Wh.T)
    i, f, g, o = (gates[:, :, gate] for gate in range(4))
    # The factors of dc (for i, f, g) and of dh (for o). The loop turns them into dz.
    dz = np.empty_like(gates)
    np.multiply(gates, gates, out=dz)
    np.subtract(gates, dz, out=dz)  # σ' = σ - σ²
    dz[:, :, 0] *= g
    dz[:, :, 1] *= cs[:-1]
    np.multiply(g, g, out=dz[:, :, 2])
    np.subtract(1, dz[:, :, 2], out=dz[:, :, 2])
    dz[:, :, 2] *= i
    dz[:, :, 3] *= s
    of_c = np.multiply(s, s)  # the factor of dh in dc: o·(1 - s²)
    np.subtract(1, of_c, out=of_c)
    of_c *= o
    dh_prev, dc, added = (np.zeros((N, H), x.dtype) for _ in range(3))
    for t in reversed(range(T)):
        dh_prev += dh[t]
        dc += np.multiply(dh_prev, of_c[t], out=added)
        dz[t, :, :3] *= dc[:, None]
        dz[t, :, 3] *= dh_prev
        np.matmul(dz[t].reshape(N, 4 * H), WhT, out=dh_prev)
        dc *= f[t]
    rows = dz.reshape(T * N, 4 * H)
    dx = (rows @ Wx.T).reshape(T, N, D)
    return dx, dh_prev, dc, x.reshape(T * N, D).T @ rows, hs[:-1].reshape(T * N, H).T @ rows, rows.sum(0)
