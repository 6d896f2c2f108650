"""The embedding layer: a table with a vector for each integer."""

from __future__ import annotations

from typing import Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.checks import check_index, check_range, check_size
from xrnn.layers.base import Layer
from xrnn.typing import Array, DType


class Embedding(Layer):
    """Embedding: y[...] = W[index[...]].   index (...) of integers in [0, V), W (V, E) → y (..., E).

    An index outside of [0, V) raises IndexError on NumPy. On a GPU the indices are not checked, because reading them
    would wait for the device: the result is then undefined.

    >>> embedding = Embedding.init(100, 8, rng=0)
    >>> embedding(np.array([[3, 14], [15, 92]])).shape
    (2, 2, 8)
    """

    W: Array
    names = ("W",)
    _forward_arguments = "index"

    def __init__(self, W: Array) -> None:
        super().__init__(W)
        self._check("W", W, ("V", "E"), "one row of size E for each of V integers")
        self.input_size, self.output_size = W.shape
        self.cache: Array | None = None

    @classmethod
    def init(
        cls,
        vocabulary_size: int,
        embedding_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A table of standard normal vectors, on the selected backend."""
        V, E = check_size("vocabulary_size", vocabulary_size), check_size("embedding_size", embedding_size)
        W = init.as_generator(rng).standard_normal((V, E))
        return cls(get_backend(backend).parameter(W, init.as_dtype(dtype)))

    def forward(self, index: Array) -> Array:
        """index (...) → y (..., E); keeps the index for `backward`."""
        y = self(index)
        self.cache = index
        return y

    def backward(self, dy: Array, *, cache: Array | None = None) -> None:
        """dW[v] = Σ dy over the positions with index = v, summed in a fixed order.   dy (..., E).

        cache   `layer.cache` as it was after an earlier forward; None for the last forward
        """
        index = self._cached(cache)
        E = self.params[0].shape[1]
        check_index("cache", index, self.backend, self._device, "this Embedding")
        self._check("dy", dy, (*index.shape, E), "the shape of what the last forward returned")
        if not self._needs_grads:
            return
        with self.backend.device_of(dy):
            self.backend.add_rows(dy.reshape(index.size, E), index.reshape(index.size), self.grads[0])

    def __call__(self, index: Array) -> Array:
        """Inference: the result of `forward`, without a cache."""
        W = self.params[0]
        if W is not self._registered[0]:
            self._accept_replaced()
        check_index("index", index, self.backend, self._device, "this Embedding")
        check_range("index", index, W.shape[0], self.backend, "make the table larger")
        with self.backend.device_of(W):
            y: Array = self.backend.xp.take(W, index, axis=0)
        return y
