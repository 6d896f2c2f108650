"""Small layers of each kind of state-space model, and the loop of their textbook in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import autograd.numpy as anp
import numpy as np

from tests.reference import selective_scan_step, sigmoid, softplus
from xrnn import MLSTM, Mamba, Mamba2
from xrnn.backend import Backend
from xrnn.layers.state_space import StateSpaceLayer
from xrnn.typing import Array, HostArray

D, H, E, K, W = 5, 4, 8, 3, 4
R, P = 2, 2  # the rank of dt in Mamba, the heads of the others
N, T = 3, 21


def _running(x: Any, lengths: HostArray | None) -> HostArray:
    """(T, N): False past the end of a row."""
    T, N, _ = x.shape
    return np.arange(T)[:, None] < (np.full(N, T) if lengths is None else lengths)


def _mamba(x: Any, last_inputs: Any, S: Any, *params: Any, lengths: HostArray | None = None) -> tuple[Any, ...]:
    in_proj, conv, conv_bias, x_proj, dt_proj, dt_bias, A_log, skip, out_proj = params
    hs = []
    for x_t, runs in zip(x, _running(x, lengths), strict=True):
        both = x_t @ in_proj
        inputs = anp.concatenate([last_inputs, both[None, :, :E]])
        a = conv_bias + sum(conv[:, j] * inputs[j] for j in range(W))
        u = a * sigmoid(a)
        projected = u @ x_proj
        B, C = projected[:, None, R : R + K], projected[:, None, R + K :]
        new, y = selective_scan_step(
            S, u, projected[:, :R] @ dt_proj, -anp.exp(A_log), B, C, skip, both[:, E:], dt_bias, True
        )
        hs.append(anp.where(runs[:, None], y @ out_proj, 0.0))
        S = anp.where(runs[:, None, None], new, S)
        last_inputs = anp.where(runs[:, None], inputs[1:], last_inputs)
    return anp.array(hs), last_inputs, S


def _mamba2(x: Any, last_inputs: Any, S: Any, *params: Any, lengths: HostArray | None = None) -> tuple[Any, ...]:
    in_proj, conv, conv_bias, dt_bias, A_log, skip, norm, out_proj = params
    hs = []
    for x_t, runs in zip(x, _running(x, lengths), strict=True):
        projected = x_t @ in_proj
        z, dt = projected[:, :E], projected[:, 2 * E + 2 * K :]
        inputs = anp.concatenate([last_inputs, projected[None, :, E : 2 * E + 2 * K]])
        a = conv_bias + sum(conv[:, j] * inputs[j] for j in range(W))
        a = a * sigmoid(a)
        u, B, C = anp.reshape(a[:, :E], (-1, P, E // P)), a[:, E : E + K], a[:, E + K :]
        step = softplus(dt + dt_bias)
        decay = anp.exp(-step * anp.exp(A_log))
        new = decay[..., None, None] * S + anp.einsum("nk,nhv->nhkv", B, step[..., None] * u)
        y = anp.einsum("nk,nhkv->nhv", C, new) + skip[:, None] * u
        r = anp.reshape(y, (-1, E)) * z * sigmoid(z)
        r = r / anp.sqrt(anp.mean(r * r, axis=1, keepdims=True) + 1e-5) * norm
        hs.append(anp.where(runs[:, None], r @ out_proj, 0.0))
        S = anp.where(runs[:, None, None, None], new, S)
        last_inputs = anp.where(runs[:, None], inputs[1:], last_inputs)
    return anp.array(hs), last_inputs, S


def _mlstm(x: Any, S: Any, n: Any, m: Any, *params: Any, lengths: HostArray | None = None) -> tuple[Any, ...]:
    in_proj, igate_bias, fgate_bias, norm, out_proj = params
    hs = []
    for x_t, runs in zip(x, _running(x, lengths), strict=True):
        q, k, v, o, i, f = anp.split(x_t @ in_proj, np.cumsum([P * K, P * K, E, E, P]), axis=1)
        q, k = anp.reshape(q, (-1, P, K)) / K**0.5, anp.reshape(k, (-1, P, K))
        log_i, log_f = i + igate_bias, -softplus(-(f + fgate_bias))
        new_m = anp.maximum(log_f + m, log_i)
        i, f = anp.exp(log_i - new_m)[..., None], anp.exp(log_f + m - new_m)[..., None]
        new_n = f * n + i * k
        new_S = f[..., None] * S + anp.einsum("nhk,nhv->nhkv", i * k, anp.reshape(v, (-1, P, E // P)))
        size = anp.maximum(abs(anp.sum(new_n * q, axis=2)), anp.exp(-new_m))
        r = anp.einsum("nhkv,nhk->nhv", new_S, q) / size[..., None]
        r = r - anp.mean(r, axis=2, keepdims=True)
        r = r / anp.sqrt(anp.mean(r * r, axis=2, keepdims=True) + 1e-6)
        hs.append(anp.where(runs[:, None], (anp.reshape(r, (-1, E)) * norm * sigmoid(o)) @ out_proj, 0.0))
        S, n = anp.where(runs[:, None, None, None], new_S, S), anp.where(runs[:, None, None], new_n, n)
        m = anp.where(runs[:, None], new_m, m)
    return anp.array(hs), S, n, m


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of layer, with small sizes."""

    layer: type[Any]
    options: dict[str, int]
    state_shapes: tuple[tuple[int, ...], ...]
    # x, the parts of the state, the parameters, lengths → h and the parts of the last state, step by step
    textbook: Callable[..., tuple[Any, ...]]

    def make(self, backend: Backend, dtype: str = "float64") -> StateSpaceLayer:
        """A layer no parameter of which has its initial zeros or ones."""
        layer: StateSpaceLayer = self.layer.init(D, H, **self.options, rng=0, dtype=dtype, backend=backend)
        rng = np.random.default_rng(1)
        for param in layer.params:
            param += backend.asarray(0.2 * rng.standard_normal(param.shape), dtype)
        return layer

    def operands(self, backend: Backend, dtype: str = "float64") -> tuple[Array, tuple[Array, ...], list[Array]]:
        """→ x, a state, and the gradients of h and of each part of the last state."""
        rng = np.random.default_rng(2)
        shapes = [(T, N, D), *self.state_shapes, (T, N, H), *self.state_shapes]
        drawn = [backend.asarray(rng.standard_normal(shape).astype(dtype)) for shape in shapes]
        parts = len(self.state_shapes)
        return drawn[0], tuple(drawn[1 : 1 + parts]), drawn[1 + parts :]


KINDS: Final = {
    "Mamba": Kind(Mamba, {"state_size": K, "taps": W, "rank": R}, ((W - 1, N, E), (N, E, K)), _mamba),
    "Mamba2": Kind(
        Mamba2, {"state_size": K, "taps": W, "heads": P}, ((W - 1, N, E + 2 * K), (N, P, K, E // P)), _mamba2
    ),
    "MLSTM": Kind(
        MLSTM, {"state_size": K, "expand": E // H, "heads": P}, ((N, P, K, E // P), (N, P, K), (N, P)), _mlstm
    ),
}
