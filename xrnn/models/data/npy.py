"""`.npy` files: one series each, an array (time, channels)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from xrnn.files import printable
from xrnn.models.data.series import Series, checked
from xrnn.models.errors import DataError


def read_npy(path: Path, label: str | None = None) -> Series:
    """The series in a file written by `numpy.save`. NaN is a missing value.   Raises DataError and OSError."""
    try:
        # open_memmap compares the size in the header with the size of the file before it allocates memory.
        # The ignored warnings: a size beyond 64 bits, which then raises an error, and a header from Python 2.
        with np.errstate(over="ignore"), warnings.catch_warnings(action="ignore"):
            array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # the header is a Python literal: its parser raises many kinds of errors
        raise DataError(
            f"{path} is not a complete .npy file of numbers ({printable(str(error))[:80]}): expected one that needs no "
            "pickle; write it with numpy.save from an array of floats"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}: expected numbers, (time, channels); use "
            "array.reshape(time, channels)"
        )
    with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes infinity, which `checked` refuses
        values = np.array(array, dtype=np.float64)
    return checked(values, label, str(path))
