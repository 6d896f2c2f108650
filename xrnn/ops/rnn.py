"""The plain recurrence of the Elman cell, forward and backward side by side, on any array namespace.

Letters, here and everywhere: T time steps, N batch, D input size, H hidden size; `d` in front means gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from xrnn.typing import Array

if TYPE_CHECKING:
    from xrnn.backend import Backend

Nonlinearity: TypeAlias = Literal["tanh", "relu"]
NONLINEARITIES: Final = get_args(Nonlinearity)


@dataclass(frozen=True, slots=True)
class RNNCell:
    """Which recurrence to run: h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b), φ the nonlinearity."""

    nonlinearity: Nonlinearity = "tanh"


@dataclass(slots=True, eq=False)
class RNNCache:
    """What every form of the forward recurrence keeps, so that any form of the backward accepts it."""

    x: Array  # (T, N, D)
    Wx: Array  # (D, H)
    Wh: Array  # (H, H)
    hs: Array  # (T+1, N, H), C-contiguous: hs[0] is h_prev, hs[1:] the outputs


def forward(
    backend: Backend, cell: RNNCell, x: Array, Wx: Array, Wh: Array, b: Array, h_prev: Array | None
) -> RNNCache:
    """h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b).

    x (T, N, D), Wx (D, H), Wh (H, H), b (H,), h_prev (N, H) or None for zeros → cache.
    """
    xp = backend.xp
    (T, N, D), H = x.shape, b.shape[0]
    x, Wh = xp.ascontiguousarray(x), xp.ascontiguousarray(Wh)  # once a sequence, not once a product

    hs = xp.empty((T + 1, N, H), dtype=x.dtype)
    hs[0] = 0 if h_prev is None else h_prev
    z = hs[1:].reshape(T * N, H)
    xp.matmul(x.reshape(T * N, D), Wx, out=z)  # the input's share of all steps in one product
    z += b
    for h, h_next in pairwise(hs):
        backend.matmul_add(h, Wh, h_next)
        if cell.nonlinearity == "tanh":
            xp.tanh(h_next, out=h_next)
        else:
            xp.maximum(h_next, 0, out=h_next)
    return RNNCache(x, Wx, Wh, hs)


def backward(backend: Backend, cell: RNNCell, cache: RNNCache, dh: Array) -> tuple[Array, Array]:
    """dz[t] = (dh[t] + dz[t+1] @ Whᵀ) · φ'(z[t]), the gradient before the nonlinearity.

    dh (T, N, H) → dz (T, N, H), dh_prev (N, H).
    """
    xp = backend.xp
    hs = cache.hs
    WhT = xp.ascontiguousarray(cache.Wh.T)

    # φ' comes from the output: the pre-activation need not be kept.
    slope = 1 - hs[1:] * hs[1:] if cell.nonlinearity == "tanh" else (hs[1:] > 0).astype(hs.dtype)
    # One row more than steps, as in hs: row 0 collects dh_prev, so no step is special.
    dz = xp.empty_like(hs)
    dz[0] = 0
    dz[1:] = dh
    for t in range(len(slope), 0, -1):
        dz[t] *= slope[t - 1]
        backend.matmul_add(dz[t], WhT, dz[t - 1])
    return dz[1:], dz[0]


def weight_gradients(backend: Backend, cache: RNNCache, dz: Array, dWx: Array, dWh: Array, db: Array) -> Array:
    """dWx = Σ x[t]ᵀ @ dz[t], dWh = Σ h[t-1]ᵀ @ dz[t], db = Σ dz[t], dx[t] = dz[t] @ Wxᵀ.

    dz (T, N, H) → dx (T, N, D); dWx, dWh, db are overwritten. One product each, over all steps.
    """
    xp = backend.xp
    T, N, D = cache.x.shape
    H = dz.shape[2]
    x, h = cache.x.reshape(T * N, D), cache.hs[:-1].reshape(T * N, H)
    dz = dz.reshape(T * N, H)
    xp.matmul(x.T, dz, out=dWx)
    xp.matmul(h.T, dz, out=dWh)
    xp.sum(dz, axis=0, out=db)
    dx: Array = xp.matmul(dz, cache.Wx.T).reshape(T, N, D)
    return dx
