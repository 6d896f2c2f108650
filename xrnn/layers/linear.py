"""The linear (affine) layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.checks import check_bool, check_size
from xrnn.layers.base import Layer
from xrnn.typing import Array, ArrayIfNeeded, DType


class Cache(NamedTuple):
    """The arrays that a forward keeps for `backward`."""

    x: Array
    W: Array
    updates: int  # the layer's count at the forward
    weights: Sequence[Array] | None  # copies for `use_weight_checks`


class Linear(Layer):
    """Linear layer: y = x @ W + b.   x (..., D), W (D, C), b (C,) → y (..., C).

    Raises TypeError for another type or dtype of the arrays, ValueError for another shape or device.

    >>> linear = Linear.init(8, 2, rng=0)
    >>> y = linear.forward(np.zeros((20, 4, 8), "float32"))
    >>> y.shape, linear.backward(np.ones_like(y)).shape
    ((20, 4, 2), (20, 4, 8))
    """

    W: Array
    b: Array
    names = ("W", "b")
    _cache_type = Cache

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__(W, b)
        self._check("W", W, ("D", "C"), "W takes an input of size D to an output of size C")
        self._check("b", b, (W.shape[1],), f"W is {W.shape}")
        self.input_size, self.output_size = W.shape
        self.cache: Cache | None = None

    @classmethod
    def init(
        cls,
        input_size: int,
        output_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with Glorot uniform W and zero b, on the selected backend."""
        D, C = check_size("input_size", input_size), check_size("output_size", output_size)
        rng = init.as_generator(rng)
        dtype = init.as_dtype(dtype)
        backend = get_backend(backend)
        return cls(backend.parameter(init.glorot_uniform(rng, D, C), dtype), backend.zeros((C,), dtype))

    def forward(self, x: Array) -> Array:
        """x (..., D) → y (..., C); keeps x for `backward`."""
        y = self(x)
        self.cache = Cache(x, self.params[0], self.updates, self._weights_for_checks())
        return y

    def backward(self, dy: Array, *, cache: Cache | None = None, needs_dx: bool = True) -> ArrayIfNeeded:
        """dW = Σ xᵀ @ dy, db = Σ dy, over all leading axes; returns dx = dy @ Wᵀ.   dy (..., C) → dx (..., D).

        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if x is data: dx is not computed, and None is returned

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since.
        """
        needs_dx = check_bool("needs_dx", needs_dx)
        x, W, updates, weights = self._cached(cache)
        if updates != self.updates or W is not self.params[0]:
            self._refuse_changed(updates)
        if weights is not None:
            self._check_unchanged(weights)
        (D, C), (dW, db) = W.shape, self.grads
        self._check("dy", dy, (*x.shape[:-1], C), "the shape of what the last forward returned")
        rows = math.prod(x.shape[:-1])
        dy = dy.reshape(rows, C)
        with self.backend.device_of(x):
            if self._needs_grads:
                dx = self.backend.affine_backward(x.reshape(rows, D), W, dy, dW, db, needs_dx)
            else:
                dx = self.backend.products().matmul(dy, W.T) if needs_dx else None
        return None if dx is None else dx.reshape(x.shape)

    def __call__(self, x: Array) -> Array:
        """Inference: the result of `forward`, without a cache."""
        W, b = self.params
        if W is not self._registered[0] or b is not self._registered[1]:
            self._accept_replaced()
        D, C = W.shape
        if not (self._is_ours(x) and x.ndim and x.shape[-1] == D):
            self._refuse("x", x, f"(..., {D})", f"W is {W.shape}")
        with self.backend.device_of(x):
            # One product over all rows is faster than a product for each leading index.
            y = self.backend.affine_forward(x.reshape(math.prod(x.shape[:-1]), D), W, b)
        return y.reshape(*x.shape[:-1], C)
