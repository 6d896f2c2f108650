"""Products with weights of 8 bits, and a recurrence that uses them, for inference.

A matrix has one scale for each column, a row of activations one scale for each step:

    W ≈ Q · s, Q = round(W / s), s = max |W| / 127 of each column
    x ≈ q · r, q = round(x / r), r = max |x| / 127 of each row
    x @ W ≈ (q @ Q) · (r · s)

q @ Q is a sum of integers, and therefore exact. Each rounding is off by half a unit at most, which is 1/254 of the
largest number in its column or row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.products import Products
from xrnn.typing import HostArray

MOST: Final = 127  # the largest integer; -128 is not used, so that -W has the same scale as W
# Below this, a row or a column counts as zeros: 127 divided by it must be a finite float32.
_LEAST: Final = np.float32(1e-30)


@dataclass(frozen=True, slots=True, eq=False)
class Int8Matrix:
    """W ≈ values · scale."""

    values: HostArray  # (K, C) int8
    scale: HostArray  # (C,) float32


@dataclass(slots=True, eq=False)
class Int8Weights:
    """The parameters of a recurrence. `packed` holds a backend's own copies of Wx and Wh, if it makes any."""

    Wx: Int8Matrix  # (D, parts · H)
    Wh: Int8Matrix  # (H, parts · H)
    b: HostArray  # (pre · H,) float32
    packed: Any = None


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
    """x @ W.   x (N, K) float32 → (N, C) float32"""
    q, scale = quantize_rows(x)
    sums = (q @ W.values.astype(np.int32)).astype(np.float32)
    result: HostArray = sums * (scale * W.scale)
    return result


def forward(
    products: Products, cell: Cell, weights: Int8Weights, x: HostArray, initial: Sequence[HostArray | None]
) -> tuple[HostArray, ...]:
    """z[t] = b + x[t] @ Wx + h[t-1] @ Wh, then one step of the cell for each t → the states, (T+1, N, H) each.

    x         (T, N, D) float32
    initial   (N, H) for each state, None for zeros
    products  for cells that compute products in their step; the built-in cells do not
    """
    (T, N, _), H = x.shape, len(weights.Wh.values)
    states = [np.empty((T + 1, N, H), np.float32) for _ in cell.states]
    for state, given in zip(states, initial, strict=True):
        state[0] = 0 if given is None else given
    z = np.empty((cell.pre, N, H), np.float32)
    run = Run(np, products, weights.Wh.values, constants=cell.constants(np, np.dtype(np.float32)))
    for t in range(T):
        before, after = [state[t] for state in states], [state[t + 1] for state in states]
        for i, block in enumerate(cell.from_b):
            z[block] = weights.b[i * H : (i + 1) * H]
        for from_, left, W in ((cell.from_x, x[t], weights.Wx), (cell.from_h, before[0], weights.Wh)):
            parts = product(left, W)
            for i, block in enumerate(from_):
                z[block] += parts[:, i * H : (i + 1) * H]
        if cell.pointwise:
            after[0][...] = z[0]
        cell.step(run, StepArrays(z, before, after, np.empty((cell.kept, N, H), np.float32)))
    return tuple(states)
