"""y = x @ W + b and its gradient, and sums of rows by index."""

from __future__ import annotations

from typing import Any, Final

from xrnn.ops.products import Products
from xrnn.typing import Array, ArrayIfNeeded

ONE_HOT_SIZE: Final = 2**24  # elements of the one-hot matrix in `add_rows`: 64 MB in float32


def forward(products: Products, x: Array, W: Array, b: Array) -> Array:
    """y = x @ W + b.   x (M, D), W (D, C), b (C,) → y (M, C)."""
    y: Array = products.matmul(x, W)
    y += b
    return y


def backward(
    products: Products, x: Array, W: Array, dy: Array, dW: Array, db: Array, needs_dx: bool = True
) -> ArrayIfNeeded:
    """dW = xᵀ @ dy, db = Σ dy, overwritten; dx = dy @ Wᵀ, or None without `needs_dx`.   dy (M, C) → dx (M, D)."""
    products.matmul(x.T, dy, out=dW)
    dy.sum(axis=0, out=db)
    return products.matmul(dy, W.T) if needs_dx else None


def add_rows(xp: Any, rows: Array, index: Array, out: Array) -> None:
    """out[v] = Σ rows[i] over all i with index[i] = v.   rows (M, E), index (M,), out (V, E) is overwritten.

    Computed as products with the one-hot matrix: they sum in a fixed order, without float atomics. Each product fills a
    block of rows of `out`, so that the one-hot matrix stays small for a large V.
    """
    block = max(ONE_HOT_SIZE // max(len(index), 1), 1)
    for start in range(0, len(out), block):
        part = out[start : start + block]
        one_hot = (xp.arange(start, start + len(part))[:, None] == index).astype(rows.dtype)
        xp.matmul(one_hot, rows, out=part)
