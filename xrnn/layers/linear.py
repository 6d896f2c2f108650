"""The affine layer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from xrnn import init
from xrnn.backend import Backend
from xrnn.layers.base import Layer
from xrnn.ops.rnn import Array
from xrnn.select import get_backend


class Linear(Layer):
    """Affine layer: y = x @ W + b.   x (..., D), W (D, C), b (C,) → y (..., C).

    Raises TypeError and ValueError for arrays that don't fit, as RNN does.
    """

    names = ("W", "b")

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__(W, b)
        self._check("W", W, ("D", "C"))
        self._check("b", b, (W.shape[1],))
        self.cache: Array | None = None

    @classmethod
    def init(
        cls,
        input_size: int,
        output_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: Any = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with Glorot uniform W and zero b, on the selected backend."""
        W = init.glorot_uniform(init.as_generator(rng), input_size, output_size)
        asarray = get_backend(backend).asarray
        return cls(asarray(W, dtype), asarray(np.zeros(output_size), dtype))

    def forward(self, x: Array) -> Array:
        """x (..., D) → y (..., C); keeps x for `backward`."""
        y = self(x)
        self.cache = x
        return y

    def backward(self, dy: Array) -> Array:
        """dW = Σ xᵀ @ dy, db = Σ dy, over all leading axes; returns dx = dy @ Wᵀ.   dy (..., C) → dx (..., D)."""
        if self.cache is None:
            raise RuntimeError("backward needs a forward before it: call forward(x) first")
        x, W = self.cache, self.params[0]
        self._check("dy", dy, (*x.shape[:-1], W.shape[1]))
        xp = self.backend.xp
        rows = dy.reshape(-1, W.shape[1]) if dy.size else xp.zeros((0, W.shape[1]), dy.dtype)
        dW, db = self.grads
        xp.matmul(x.reshape(len(rows), W.shape[0]).T, rows, out=dW)
        xp.sum(rows, axis=0, out=db)
        dx: Array = xp.matmul(rows, W.T).reshape(x.shape)
        return dx

    def __call__(self, x: Array) -> Array:
        """Inference: what `forward` returns, with nothing kept."""
        W, b = self.params
        ndim = max(getattr(x, "ndim", 1), 1)
        self._check("x", x, (*("...",) * (ndim - 1), W.shape[0]))
        y: Array = self.backend.xp.matmul(x, W)
        y += b
        return y
