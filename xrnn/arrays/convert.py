"""Conversion of arrays between backends and from other libraries: `asarray` and `to_numpy`."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import numpy as np

from xrnn.arrays.dlpack import exports, take_over
from xrnn.arrays.select import backend_of, get_backend
from xrnn.backend import Backend
from xrnn.messages import cast_hint, kind_of
from xrnn.typing import Array, DType, HostArray, Numbers

_NUMBERS: Final = "biuf"  # the kinds of dtype
_MOST_AXES: Final = 64  # NumPy's limit


def asarray(array: Numbers, dtype: DType | None = None, *, backend: str | Backend | None = None) -> Array:
    """`array` on the selected backend, or on `backend`. Nothing else moves data between host and device.

    array   an array of any backend or of another library with DLPack (PyTorch, JAX, …), a number, or nested lists

    An array that is on that backend already is not copied: the result shares its memory, and is read-only if it is.

    Raises TypeError for a masked array, whose mask would be lost, for complex numbers, for a value without numbers
    (None, a string, a dict, an array of text, times or objects), and for another library's array that requires grad or
    has a dtype that the backend lacks; ValueError for an array on a device that the backend can't reach.

    >>> asarray([[1.0, 2.0]], "float32").shape
    (1, 2)
    """
    target = get_backend(backend)
    found: Any = array
    if not target.owns(array):
        on_host = None
        try:
            on_host = to_numpy(array)
        except TypeError:  # of another library, or not an array
            if isinstance(array, np.ma.MaskedArray):
                raise
        if on_host is not None:
            found = on_host
        elif exports(array):
            found = take_over(array, kind_of(array), target)
        else:
            found = _numbers(array)
    if found.dtype.kind == "c":  # `dtype` would drop the imaginary part
        check_numbers("array", found)
    made = target.asarray(found, dtype)
    if dtype is not None and made.dtype.kind not in _NUMBERS:
        raise TypeError(f"dtype is {made.dtype}: expected a dtype of real numbers; use 'float32'")
    check_numbers("array", made)
    return made


def to_numpy(array: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """`array` as a NumPy array. From a GPU this copies and waits; a NumPy array is returned unchanged.

    >>> to_numpy(asarray([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return backend_of(array).to_numpy(array)


def check_numbers(name: str, array: Any) -> None:
    """Raises TypeError for an array of complex numbers, text, times, objects or records."""
    if array.dtype.kind == "c":
        raise TypeError(f"{name} has dtype {array.dtype}: expected real numbers; {cast_hint(name, array, '')}")
    if array.dtype.kind not in _NUMBERS:
        raise TypeError(f"{name} has dtype {array.dtype}: expected numbers; convert it to numbers first")


def holds_mask(value: Any, depth: int = _MOST_AXES) -> bool:
    """Whether `value` is a masked array, or lists nested at most this deep that hold one."""
    if isinstance(value, list | tuple):
        return depth > 0 and any(holds_mask(item, depth - 1) for item in value if not isinstance(item, float))
    return isinstance(value, np.ma.MaskedArray)


def _numbers(value: Any) -> HostArray:
    """A NumPy array of a number or of nested lists.   Raises TypeError for anything else, such as None or a string."""
    if holds_mask(value):
        raise TypeError("array holds a masked array: use filled(0) of each")
    with contextlib.suppress(ValueError):  # lists of unequal lengths, and a list that holds itself
        array = np.asarray(value)
        if array.dtype.kind in (*_NUMBERS, "c"):
            return array
    raise TypeError(
        f"array is a {kind_of(value)}: expected an array, a number, or nested lists of numbers of equal lengths; "
        "convert it to numbers first"
    )
