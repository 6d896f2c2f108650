"""A chaotic series to try `xrnn forecast` with."""

from __future__ import annotations

from typing import Final

import numpy as np

from xrnn.models.data.series import Series

_ROWS: Final = 800
_DELAY: Final = 17  # time units
_SUBSTEPS: Final = 10  # Euler steps in a time unit
_UNITS: Final = 3  # time units in a row
_WARM_UP: Final = 500  # time units


def mackey_glass() -> Series:
    """v' = 0.2 v(t - 17) / (1 + v(t - 17)¹⁰) - 0.1 v   (Mackey & Glass, 1977), 800 rows."""
    delay, total = _DELAY * _SUBSTEPS, (_WARM_UP + _UNITS * _ROWS) * _SUBSTEPS
    v = np.full(total + delay, 1.2)
    for t in range(delay, total + delay - 1):
        late = v[t - delay]
        v[t + 1] = v[t] + (0.2 * late / (1 + late**10) - 0.1 * v[t]) / _SUBSTEPS
    rows = v[delay + _WARM_UP * _SUBSTEPS :: _UNITS * _SUBSTEPS][:_ROWS, None]
    return Series(rows, None, "a chaotic series")
