"""The recurrence as one writes it by hand in NumPy with care: the input's projection in one product before the
loop, `out=` wherever there is one, the weight gradients in one product each after the loop.
"""

from __future__ import annotations

import numpy as np

from benchmarks.cases import Array, Problem, square
from benchmarks.peers import Built


def about() -> dict[str, str]:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"numpy": np.__version__, "BLAS": f"{blas['name']} {blas['version']}"}


def forward(x: Array, h_prev: Array, Wx: Array, Wh: Array, b: Array) -> Array:
    """→ hs (T+1, N, H), hs[0] = h_prev."""
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
    return hs


def backward(dh: Array, hs: Array, x: Array, Wx: Array, Wh: Array) -> tuple[Array, ...]:
    """→ dx, dh_prev, dWx, dWh, db."""
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


def build(problem: Problem, threads: int) -> Built:
    x, h_prev, Wx, Wh, b = problem.x, problem.h_prev, problem.Wx, problem.Wh, problem.b
    left, right = square()
    product = np.empty_like(left)

    def train() -> tuple[Array, ...]:
        hs = forward(x, h_prev, Wx, Wh, b)
        return hs[1:], *backward(problem.dh, hs, x, Wx, Wh)

    return Built(
        {
            "step": lambda: forward(x[:1], h_prev, Wx, Wh, b)[1],
            "forward": lambda: forward(x, h_prev, Wx, Wh, b)[1:],
            "train": train,
            "product": lambda: np.matmul(left, right, out=product),
        }
    )
