"""The layout of int8 weights that the kernels read: kernels/int8.h."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np

from xrnn.ops.int8 import Int8Matrix
from xrnn.typing import HostArray

UNITS: Final = 16  # of a panel
OFFSET: Final = 128  # is added to activations, so that they are bytes without a sign

Packed: TypeAlias = tuple[HostArray, HostArray, HostArray]


def pack(matrix: Int8Matrix, H: int) -> Packed:
    """→ values (panels, K/4, gates, 16 units, 4 rows), 128 times the sum of each column, and the scales, by panel."""
    K, C = matrix.values.shape
    gates = C // H
    panels = -(-H // UNITS)
    quads = -(-K // 4)
    values = np.zeros((quads * 4, gates, panels * UNITS), np.int8)
    values[:K, :, :H] = matrix.values.reshape(K, gates, H)
    sums = OFFSET * values.sum(axis=0, dtype=np.int32)
    scale = np.zeros((gates, panels * UNITS), np.float32)
    scale[:, :H] = matrix.scale.reshape(gates, H)
    by_panel = values.reshape(quads, 4, gates, panels, UNITS).transpose(3, 0, 2, 4, 1)
    return np.ascontiguousarray(by_panel), _by_panel(sums, gates, panels), _by_panel(scale, gates, panels)


def _by_panel(columns: HostArray, gates: int, panels: int) -> HostArray:
    return np.ascontiguousarray(columns.reshape(gates, panels, UNITS).swapaxes(0, 1))
