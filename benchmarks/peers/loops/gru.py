"""r, u = σ, σ of x[t] @ Wx + h[t-1] @ Wh + b;  n = tanh(z_n + r·z_h);  h[t] = n + u·(h[t-1] - n).

z_n = x[t] @ Wx_n + b_n and z_h = h[t-1] @ Wh_n + b_h: the reset gate is applied after the product.
"""

from __future__ import annotations

import numpy as np

from xrnn.typing import HostArray

Kept = tuple[HostArray, HostArray]  # r, u, n (T, N, 3H), z_h (T, N, H)


def forward(x: HostArray, h_prev: HostArray, Wx: HostArray, Wh: HostArray, b: HostArray) -> tuple[HostArray, Kept]:
    T, N, D = x.shape
    H = len(Wh)
    hs, z_h = np.empty((T + 1, N, H), x.dtype), np.empty((T, N, H), x.dtype)
    hs[0] = h_prev
    gates = np.matmul(x.reshape(T * N, D), Wx).reshape(T, N, 3 * H)
    gates += b[: 3 * H]
    b_h = b[3 * H :]
    recurrent, product = np.empty((N, 3 * H), x.dtype), np.empty((N, H), x.dtype)
    for t in range(T):
        np.matmul(hs[t], Wh, out=recurrent)
        ru, r, u, n = gates[t, :, : 2 * H], gates[t, :, :H], gates[t, :, H : 2 * H], gates[t, :, 2 * H :]
        ru += recurrent[:, : 2 * H]
        ru *= 0.5  # σ(z) = tanh(z / 2) / 2 + 1/2
        np.tanh(ru, out=ru)
        ru *= 0.5
        ru += 0.5
        np.add(recurrent[:, 2 * H :], b_h, out=z_h[t])
        n += np.multiply(r, z_h[t], out=product)
        np.tanh(n, out=n)
        np.subtract(hs[t], n, out=hs[t + 1])
        hs[t + 1] *= u
        hs[t + 1] += n
    return hs, (gates, z_h)


def backward(
    dh: HostArray, hs: HostArray, kept: Kept, x: HostArray, Wx: HostArray, Wh: HostArray
) -> tuple[HostArray, ...]:
    gates, z_h = kept
    T, N, D = x.shape
    H = len(Wh)
    WhT = np.ascontiguousarray(Wh.T)
    r, u, n = gates[:, :, :H], gates[:, :, H : 2 * H], gates[:, :, 2 * H :]
    # The factors of dn (for r) and of dh (for u and n). The loop turns them into dz.
    dz = np.multiply(gates, gates)
    dz_ru, dz_n = dz[:, :, : 2 * H], dz[:, :, 2 * H :]
    np.subtract(gates[:, :, : 2 * H], dz_ru, out=dz_ru)  # σ' = σ - σ²
    np.subtract(1, dz_n, out=dz_n)
    dz[:, :, :H] *= z_h
    dz[:, :, H : 2 * H] *= hs[:-1] - n
    dz_n *= 1 - u
    of_h = np.empty_like(dz)  # the gradient of h @ Wh + b_h: dz with dn·r instead of dn
    dh_prev = np.zeros((N, H), x.dtype)
    direct = np.empty((N, H), x.dtype)
    for t in reversed(range(T)):
        dh_prev += dh[t]
        dn = dz_n[t]
        dn *= dh_prev
        dz[t, :, :H] *= dn
        dz[t, :, H : 2 * H] *= dh_prev
        of_h[t, :, : 2 * H] = dz_ru[t]
        np.multiply(dn, r[t], out=of_h[t, :, 2 * H :])
        np.multiply(dh_prev, u[t], out=direct)
        np.matmul(of_h[t], WhT, out=dh_prev)
        dh_prev += direct
    rows, rows_of_h = dz.reshape(T * N, 3 * H), of_h.reshape(T * N, 3 * H)
    dx = (rows @ Wx.T).reshape(T, N, D)
    db = np.concatenate([rows.sum(0), rows_of_h[:, 2 * H :].sum(0)])
    return dx, dh_prev, x.reshape(T * N, D).T @ rows, hs[:-1].reshape(T * N, H).T @ rows_of_h, db
