"""Recurrent weights of several heads: units of one head feed only units of the same head.

With k heads, Wh has the shape (k, H/k, gates · H/k), with the gates in order within each head. It stands for a dense
matrix (H, gates · H) that is zero between different heads. Head j has the units j · H/k … (j + 1) · H/k - 1 of h and of
every block of z, so the columns of z have their usual order.
"""

from __future__ import annotations

from typing import Any

from xrnn.ops.products import Products
from xrnn.typing import Array


def hidden_size(Wh: Any) -> int:
    """H of recurrent weights: an array (H, gates · H) or (k, H/k, gates · H/k), or an Int8Matrix."""
    shape: tuple[int, ...] = Wh.shape
    return shape[0] if len(shape) == 2 else shape[0] * shape[1]


def dense(xp: Any, Wh: Array) -> Array:
    """The matrix (H, gates · H) that these weights stand for. A matrix is returned as it is."""
    if Wh.ndim == 2:
        return Wh
    k, K, width = Wh.shape
    gates = width // K
    matrix = xp.zeros((k, K, gates, k, K), Wh.dtype)
    for j in range(k):
        matrix[j, :, :, j] = Wh[j].reshape(K, gates, K)
    return matrix.reshape(k * K, gates * k * K)


def transposed(Wh: Array) -> Array:
    """Whᵀ, of each head."""
    return Wh.T if Wh.ndim == 2 else Wh.swapaxes(1, 2)


def products_with(products: Products, Wh: Any) -> Products:
    """`products`, in which Wh or Whᵀ of several heads may be the second factor."""
    if len(Wh.shape) == 2:
        return products

    def dot(a: Array, W: Array, out: Any = None) -> Any:
        if W.ndim == 2:
            return products.dot(a, W, out)
        k, height, width = W.shape
        K = min(height, width)  # units of a head; the other side has these units for each gate
        by_head = products.matmul(_of_heads(a, k, K), W)
        product = by_head.reshape(k, len(a), width // K, K).transpose(1, 2, 0, 3).reshape(len(a), k * width)
        if out is None:
            return product
        out[...] = product
        return out

    def matmul_add(a: Array, W: Array, out: Array) -> None:
        if W.ndim == 2:
            products.matmul_add(a, W, out)
        else:
            out += dot(a, W)

    return Products(dot, products.matmul, matmul_add)


def weight_gradient(products: Products, h: Array, dz: Array, dWh: Array) -> None:
    """dWh = hᵀ @ dz of each head.   h (rows, H), dz (rows, gates · H), dWh (k, H/k, gates · H/k)"""
    k, K, _ = dWh.shape
    dWh[...] = products.matmul(_of_heads(h, k, K).swapaxes(1, 2), _of_heads(dz, k, K))


def _of_heads(a: Array, k: int, K: int) -> Array:
    """(rows, blocks · H) → (k, rows, blocks · K): the columns of each head, block by block."""
    rows, width = a.shape
    return a.reshape(rows, width // (k * K), k, K).transpose(2, 0, 1, 3).reshape(k, rows, width // k)
