"""Layer normalization, alone or between the layers of a Stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.checks import check_bool, check_lengths, check_number, check_size
from xrnn.layers.base import Layer
from xrnn.typing import Array, ArrayIfNeeded, DType, Lengths


class Cache(NamedTuple):
    """The arrays that a forward keeps for `backward`."""

    normalized: Array
    scale: Array  # 1 / √(variance + ε), (..., 1)
    gamma: Array
    updates: int  # the layer's count at the forward
    weights: Sequence[Array] | None  # copies for `use_weight_checks`
    padded: bool  # whether the forward had lengths: x may then hold NaN past the end of a row


class LayerNorm(Layer):
    """y = γ · (x - mean) / √(variance + ε) + β, over the features of each row   (Ba, Kiros & Hinton, 2016).

        Stack([LSTM.init(32, 128), LayerNorm.init(128), LSTM.init(128, 128)])

    gamma, beta   (D,); x (..., D) → y (..., D)
    eps           ε

    In a Stack it has no state: its entry of `states` is (). The dropout of a Stack is applied before it and after it.

    Raises TypeError for another type or dtype of the arrays, ValueError for another shape or device, or an eps that is
    not positive.

    >>> norm = LayerNorm.init(8)
    >>> norm(np.ones((20, 4, 8), "float32")).shape
    (20, 4, 8)
    """

    gamma: Array
    beta: Array
    names = ("gamma", "beta")
    streams = True
    _cache_type = Cache

    def __init__(self, gamma: Array, beta: Array, *, eps: float = 1e-5) -> None:
        super().__init__(gamma, beta)
        self._check("gamma", gamma, ("D",), "a factor for each feature")
        self._check("beta", beta, gamma.shape, f"gamma is {gamma.shape}")
        check_number("eps", eps, "a positive number", lambda eps: 0 < eps < math.inf)
        self.eps = float(eps)
        self.input_size = self.output_size = gamma.shape[0]
        self.cache: Cache | None = None

    @classmethod
    def init(
        cls, size: int, *, eps: float = 1e-5, dtype: DType = "float32", backend: str | Backend | None = None
    ) -> Self:
        """A layer of `size` features with γ = 1 and β = 0, on the selected backend."""
        D = check_size("size", size)
        dtype = init.as_dtype(dtype)
        backend = get_backend(backend)
        return cls(backend.parameter(np.ones(D), dtype), backend.zeros((D,), dtype), eps=eps)

    @property
    def options(self) -> dict[str, Any]:
        return {"eps": self.eps}

    def forward(self, x: Array) -> Array:
        """x (..., D) → y (..., D); keeps what `backward` needs."""
        return self._run(x, training=True, padded=False)

    def __call__(self, x: Array) -> Array:
        """Inference: the result of `forward`, without a cache."""
        return self._run(x, training=False, padded=False)

    def _run(self, x: Array, *, training: bool, padded: bool) -> Array:
        gamma, beta = self.params
        if gamma is not self._registered[0] or beta is not self._registered[1]:
            self._accept_replaced()
        if not (self._is_ours(x) and x.ndim and x.shape[-1] == self.input_size):
            self._refuse("x", x, f"(..., {self.input_size})", f"gamma is {gamma.shape}")
        with self.backend.device_of(x):
            normalized = x - x.mean(axis=-1, keepdims=True)
            scale = ((normalized * normalized).mean(axis=-1, keepdims=True) + self.eps) ** -0.5
            normalized *= scale
            if training:
                weights = self._weights_for_checks()
                self.cache = Cache(normalized, scale, gamma, self.updates, weights, padded)
            return normalized * gamma + beta

    def backward(self, dy: Array, *, cache: Cache | None = None, needs_dx: bool = True) -> ArrayIfNeeded:
        """dγ = Σ dy · n, dβ = Σ dy, dx = scale · (g - mean g - n · mean (g · n)),  g = dy · γ, n the normalized x.

        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if x is data: dx is not computed, and None is returned

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since.
        """
        needs_dx = check_bool("needs_dx", needs_dx)
        n, scale, gamma, updates, weights, padded = self._cached(cache)
        if updates != self.updates or gamma is not self.params[0]:
            self._refuse_changed(updates)
        if weights is not None:
            self._check_unchanged(weights)
        self._check("dy", dy, n.shape, "the shape of what the last forward returned")
        dgamma, dbeta = self.grads
        xp = self.backend.xp
        leading = tuple(range(dy.ndim - 1))
        with self.backend.device_of(dy):
            if padded:  # 0 · NaN would be NaN
                used = (dy != 0).any(axis=-1, keepdims=True)
                n, scale = xp.where(used, n, 0), xp.where(used, scale, 0)
            if self._needs_grads:
                dgamma[...] = (dy * n).sum(axis=leading)
                dbeta[...] = dy.sum(axis=leading)
            if not needs_dx:
                return None
            g = dy * gamma
            return scale * (g - g.mean(axis=-1, keepdims=True) - n * (g * n).mean(axis=-1, keepdims=True))

    # ---- as a part of a Stack ----

    def checked_lengths(self, lengths: Lengths, x: Array) -> Array:
        if x.ndim != 3:
            raise ValueError(f"got lengths for x of shape {x.shape}: expected a sequence, x (T, N, D)")
        T, N, _ = x.shape
        with self.backend.device_of(x):
            return check_lengths(lengths, N, T, self.backend, self._device, f"this {self.title}")

    def forward_part(self, x: Array, state: Any, lengths: Lengths | None, *, training: bool) -> tuple[Array, tuple[()]]:
        if not _is_empty(state):
            raise ValueError("got a state for a LayerNorm: expected () or None; pass on what the Stack returned")
        return self._run(x, training=training, padded=lengths is not None), ()

    def backward_part(self, dh: Array, dfinal: Any, cache: Any, needs_dx: bool) -> tuple[ArrayIfNeeded, tuple[()]]:
        if not _is_empty(dfinal):
            raise ValueError("got a state's gradient for a LayerNorm: expected () or None; leave it out")
        return self.backward(dh, cache=cache, needs_dx=needs_dx), ()


def _is_empty(state: Any) -> bool:
    return state is None or (isinstance(state, tuple) and not state)
