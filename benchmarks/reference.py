"""The cells step by step in float64: what every peer must agree with. Written apart from xrnn and from the peers.

x (T, N, D), states (N, H) each, Wx (D, ·), Wh (H, ·), b (·,), dh (T, N, H) → h and the gradients of Σ h·dh by name:
h, dx, one gradient a state, dWx, dWh, db.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def sigmoid(z: Array) -> Array:
    s: Array = 1 / (1 + np.exp(-z))
    return s


def rnn(x: Array, h_prev: Array, Wx: Array, Wh: Array, b: Array, dh: Array) -> dict[str, Array]:
    """h[t] = tanh(x[t] @ Wx + h[t-1] @ Wh + b)."""
    hs = [h_prev]
    for x_t in x:
        hs.append(np.tanh(x_t @ Wx + hs[-1] @ Wh + b))
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dh_prev = np.zeros_like(h_prev)
    for t in reversed(range(len(x))):
        dz = (dh[t] + dh_prev) * (1 - hs[t + 1] ** 2)
        dx[t] = dz @ Wx.T
        dWx += x[t].T @ dz
        dWh += hs[t].T @ dz
        db += dz.sum(0)
        dh_prev = dz @ Wh.T
    return {"h": np.stack(hs[1:]), "dx": dx, "dh_prev": dh_prev, "dWx": dWx, "dWh": dWh, "db": db}


LEAK: Final = 0.3


def leak(x: Array, h_prev: Array, Wx: Array, Wh: Array, b: Array, dh: Array) -> dict[str, Array]:
    """h[t] = (1 - a)·h[t-1] + a·tanh(x[t] @ Wx + h[t-1] @ Wh + b), a = LEAK."""
    hs, ys = [h_prev], []
    for x_t in x:
        ys.append(np.tanh(x_t @ Wx + hs[-1] @ Wh + b))
        hs.append((1 - LEAK) * hs[-1] + LEAK * ys[-1])
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dh_prev = np.zeros_like(h_prev)
    for t in reversed(range(len(x))):
        dh_t = dh[t] + dh_prev
        dz = LEAK * dh_t * (1 - ys[t] ** 2)
        dx[t] = dz @ Wx.T
        dWx += x[t].T @ dz
        dWh += hs[t].T @ dz
        db += dz.sum(0)
        dh_prev = dz @ Wh.T + (1 - LEAK) * dh_t
    return {"h": np.stack(hs[1:]), "dx": dx, "dh_prev": dh_prev, "dWx": dWx, "dWh": dWh, "db": db}


def lstm(x: Array, h_prev: Array, c_prev: Array, Wx: Array, Wh: Array, b: Array, dh: Array) -> dict[str, Array]:
    """i, f, g, o = σ, σ, tanh, σ of x[t] @ Wx + h[t-1] @ Wh + b;  c[t] = f·c[t-1] + i·g;  h[t] = o·tanh(c[t])."""
    hs, cs, gates = [h_prev], [c_prev], []
    for x_t in x:
        zi, zf, zg, zo = np.split(x_t @ Wx + hs[-1] @ Wh + b, 4, axis=1)
        i, f, g, o = sigmoid(zi), sigmoid(zf), np.tanh(zg), sigmoid(zo)
        cs.append(f * cs[-1] + i * g)
        hs.append(o * np.tanh(cs[-1]))
        gates.append((i, f, g, o))
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dh_prev, dc = np.zeros_like(h_prev), np.zeros_like(c_prev)
    for t in reversed(range(len(x))):
        (i, f, g, o), s = gates[t], np.tanh(cs[t + 1])
        dh_t = dh[t] + dh_prev
        dc = dc + dh_t * o * (1 - s**2)
        by_gate = dc * g * i * (1 - i), dc * cs[t] * f * (1 - f), dc * i * (1 - g**2), dh_t * s * o * (1 - o)
        dz = np.concatenate(by_gate, axis=1)
        dx[t] = dz @ Wx.T
        dWx += x[t].T @ dz
        dWh += hs[t].T @ dz
        db += dz.sum(0)
        dh_prev, dc = dz @ Wh.T, dc * f
    return {"h": np.stack(hs[1:]), "dx": dx, "dh_prev": dh_prev, "dc_prev": dc, "dWx": dWx, "dWh": dWh, "db": db}


def gru(x: Array, h_prev: Array, Wx: Array, Wh: Array, b: Array, dh: Array) -> dict[str, Array]:
    """r, u = σ of x[t] @ Wx + h[t-1] @ Wh + b;  n = tanh(x[t] @ Wx_n + b_n + r·z_h);  h[t] = n + u·(h[t-1] - n).

    z_h = h[t-1] @ Wh_n + b_h: the reset gate is applied after the product.
    """
    H = h_prev.shape[1]
    b_x, b_h = b[: 3 * H], np.concatenate([np.zeros(2 * H), b[3 * H :]])
    hs, gates = [h_prev], []
    for x_t in x:
        from_x, from_h = np.split(x_t @ Wx + b_x, 3, axis=1), np.split(hs[-1] @ Wh + b_h, 3, axis=1)
        r, u = sigmoid(from_x[0] + from_h[0]), sigmoid(from_x[1] + from_h[1])
        n = np.tanh(from_x[2] + r * from_h[2])
        hs.append(n + u * (hs[-1] - n))
        gates.append((r, u, n, from_h[2]))
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dh_prev = np.zeros_like(h_prev)
    for t in reversed(range(len(x))):
        r, u, n, z_h = gates[t]
        dh_t = dh[t] + dh_prev
        dn = dh_t * (1 - u) * (1 - n**2)
        dz_r, dz_u = dn * z_h * r * (1 - r), dh_t * (hs[t] - n) * u * (1 - u)
        of_x, of_h = np.concatenate([dz_r, dz_u, dn], axis=1), np.concatenate([dz_r, dz_u, dn * r], axis=1)
        dx[t] = of_x @ Wx.T
        dWx += x[t].T @ of_x
        dWh += hs[t].T @ of_h
        db += np.concatenate([of_x.sum(0), of_h[:, 2 * H :].sum(0)])
        dh_prev = of_h @ Wh.T + u * dh_t
    return {"h": np.stack(hs[1:]), "dx": dx, "dh_prev": dh_prev, "dWx": dWx, "dWh": dWh, "db": db}


Reference = Callable[..., dict[str, Array]]
REFERENCES: Final[dict[str, Reference]] = {"rnn": rnn, "lstm": lstm, "gru": gru, "leak": leak}


def by_length(reference: Reference, lengths: Array, x: Array, *others: Array) -> dict[str, Array]:
    """The same where row n has lengths[n] steps: rows of one length run together. h and dx are 0 past a row's end."""
    *states, Wx, Wh, b, dh = others
    total: dict[str, Array] = {}
    for T in np.unique(lengths):
        rows = lengths == T
        of_rows = reference(x[:T, rows], *(state[rows] for state in states), Wx, Wh, b, dh[:T, rows])
        for name, part in of_rows.items():
            if name in ("dWx", "dWh", "db"):
                total[name] = total.get(name, np.zeros_like(part)) + part
            elif name in ("h", "dx"):
                total.setdefault(name, np.zeros((*x.shape[:2], part.shape[2])))[:T, rows] = part
            else:
                total.setdefault(name, np.zeros_like(states[0]))[rows] = part
    return total
