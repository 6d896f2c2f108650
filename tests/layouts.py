"""The same values in each memory layout that a caller may pass."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.typing import Array

LAYOUTS: Final = ("C", "Fortran", "strided", "negative", "shifted", "read-only")


def lay_out(backend: Backend, values: np.ndarray[Any, np.dtype[Any]], layout: str) -> Array:
    """A new array with these values: in C or Fortran order, with a stride of two in the last axis, with all axes
    reversed, or one element further in memory, so that vectors cross cache lines. Read-only arrays exist only in NumPy;
    other backends get C order."""
    xp = backend.xp
    if layout == "Fortran":
        return backend.xp.asarray(np.array(values, order="F"), order="F")
    if layout == "strided":
        gaps = xp.full((*values.shape[:-1], 2 * values.shape[-1]), 99, values.dtype)
        gaps[..., ::2] = backend.asarray(values.copy())
        return gaps[..., ::2]
    if layout == "negative":
        backwards = (slice(None, None, -1),) * values.ndim
        return backend.asarray(np.array(values[backwards], order="C"))[backwards]
    if layout == "shifted":
        longer = xp.empty(values.size + 1, values.dtype)
        longer[1:] = backend.asarray(values.ravel().copy())
        return longer[1:].reshape(values.shape)
    array = backend.asarray(np.array(values, order="C"))
    if layout == "read-only" and isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array
