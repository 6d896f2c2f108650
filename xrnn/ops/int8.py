"""Weights of 8 bits, and the products with them, for inference.

A matrix has one scale for each column, a row of activations one scale for each step:

    W ≈ Q · s, Q = round(W / s), s = max |W| / 127 of each column
    x ≈ q · r, q = round(x / r), r = max |x| / 127 of each row
    x @ W ≈ (q @ Q) · (r · s)

q @ Q is a sum of integers, and therefore exact. Each rounding is off by half a unit at most, which is 1/254 of the
largest number in its column or row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from xrnn.ops.products import Products
from xrnn.typing import HostArray

MOST: Final = 127  # the largest integer; -128 is not used, so that -W has the same scale as W
# Below this, a row or a column counts as zeros: 127 divided by it must be a finite float32.
_LEAST: Final = np.float32(1e-30)


@dataclass(frozen=True, slots=True, eq=False)
class Int8Matrix:
    """W ≈ values · scale. A cell may multiply by it, `h @ W`, and take some of its columns, `W[:, a:b]`."""

    values: HostArray  # (K, C) int8
    scale: HostArray  # (C,) float32

    __array_ufunc__ = None  # so that `h @ W` of a NumPy array h calls __rmatmul__

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, columns: tuple[slice, slice]) -> Int8Matrix:
        return Int8Matrix(self.values[columns], self.scale[columns[1]])

    def __rmatmul__(self, x: HostArray) -> HostArray:
        return product(x, self)


def quantize_columns(W: HostArray) -> Int8Matrix:
    """The int8 matrix nearest to W, with one scale for each column.   W (K, C), finite"""
    most = np.abs(W).max(axis=0, initial=0).astype(np.float32)
    scale = np.where(most < _LEAST, np.float32(0), most / np.float32(MOST))
    units = np.where(scale == 0, np.float32(1), scale)
    return Int8Matrix(np.clip(np.rint(W / units), -MOST, MOST).astype(np.int8), scale)


def quantize_rows(x: HostArray) -> tuple[HostArray, HostArray]:
    """→ integers (N, K), scales (N, 1).   x (N, K) float32; a row with NaN or infinity becomes zeros with scale NaN"""
    finite = np.isfinite(x).all(axis=1, keepdims=True)
    most = np.abs(np.where(finite, x, 0)).max(axis=1, keepdims=True, initial=0)
    is_zero = most < _LEAST
    factor = np.float32(MOST) / np.where(is_zero, np.float32(1), most)
    q = np.where(finite & ~is_zero, np.rint(np.where(finite, x, 0) * factor), 0).astype(np.int32)
    scale = np.where(is_zero, np.float32(0), most / np.float32(MOST))
    return q, np.where(finite, scale, np.float32(np.nan))


def product(x: HostArray, W: Int8Matrix) -> HostArray:
    """x @ W.   x (N, K) float32 → (N, C) float32; or (K,) → (C,)"""
    if x.ndim == 1:
        return product(x[None], W)[0]
    q, scale = quantize_rows(x)
    sums = (q @ W.values.astype(np.int32)).astype(np.float32)
    return sums * (scale * W.scale)


def products(exact: Products) -> Products:
    """`exact`, and products with Int8Matrix."""

    def dot(x: HostArray, W: Any, out: HostArray | None = None) -> HostArray:
        if not isinstance(W, Int8Matrix):
            return exact.matmul(x, W, out=out)
        result = product(x, W)
        if out is None:
            return result
        out[...] = result
        return out

    def matmul_add(x: HostArray, W: Any, out: HostArray) -> None:
        out += dot(x, W)

    return Products(dot, dot, matmul_add)
