"""s[t] = λ·s[t-1] + exp(γ)·z,  z = x[t] @ Wx + b, complex, real parts first;  λ = exp(-exp(ν) + i·exp(θ))   (LRU)."""

from __future__ import annotations

import numpy as np

from xrnn.typing import HostArray

Kept = tuple[HostArray, HostArray, HostArray, HostArray]  # z (T, N, H) complex; λ, exp(γ) and ν, θ as one (H,) complex


def forward(
    x: HostArray,
    h_prev: HostArray,
    Wx: HostArray,
    Wh: HostArray,
    b: HostArray,
    nu: HostArray,
    theta: HostArray,
    gamma: HostArray,
) -> tuple[HostArray, Kept]:
    T, N, D = x.shape
    H = len(nu)
    eigenvalue, gain = np.exp(-np.exp(nu) + 1j * np.exp(theta)), np.exp(gamma)
    z = _complex((np.matmul(x.reshape(T * N, D), Wx) + b).reshape(T, N, 2 * H))
    driven = gain * z
    s = np.empty((T + 1, N, H), z.dtype)
    s[0] = _complex(h_prev)
    for t in range(T):
        np.multiply(s[t], eigenvalue, out=s[t + 1])
        s[t + 1] += driven[t]
    return _real(s), (z, eigenvalue, gain, nu + 1j * theta)


def backward(
    dh: HostArray, hs: HostArray, kept: Kept, x: HostArray, Wx: HostArray, Wh: HostArray
) -> tuple[HostArray, ...]:
    z, eigenvalue, gain, nu_theta = kept
    T, N, D = x.shape
    ds, turned = _complex(dh), eigenvalue.conj()
    carry = np.zeros_like(ds[0])
    for t in reversed(range(T)):
        ds[t] += carry
        np.multiply(ds[t], turned, out=carry)
    d_gain = np.einsum("tnh,tnh->h", z.conj(), ds).real
    through = eigenvalue.conj() * np.einsum("tnh,tnh->h", _complex(hs[:-1]).conj(), ds)
    rows = _real(gain * ds).reshape(T * N, -1)
    return (
        (rows @ Wx.T).reshape(T, N, D),
        _real(carry),
        x.reshape(T * N, D).T @ rows,
        np.zeros_like(Wh),
        rows.sum(0),
        -np.exp(nu_theta.real) * through.real,
        np.exp(nu_theta.imag) * through.imag,
        gain * d_gain,
    )


def _complex(parts: HostArray) -> HostArray:
    H = parts.shape[-1] // 2
    joined: HostArray = parts[..., :H] + np.complex64(1j) * parts[..., H:]
    return joined


def _real(numbers: HostArray) -> HostArray:
    return np.concatenate((numbers.real, numbers.imag), axis=-1)
