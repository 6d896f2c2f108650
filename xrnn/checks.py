"""Checks of arguments. Each error is one line: expected, got, and the remedy.

Layers, losses and optimizers check their arguments on entry. The operations in `xrnn.ops` do not check them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from xrnn.arrays.select import backend_of
from xrnn.backend import Backend
from xrnn.messages import cast_hint, kind_of
from xrnn.typing import Array, HostArray


def check_float(name: str, array: Any) -> Backend:
    """The backend of `array`.   Raises TypeError unless it is a float32 or float64 array of a backend."""
    backend = backend_of(array, name)
    if array.dtype not in (np.float32, np.float64):
        native = "float64" if array.dtype.str[1:] == "f8" else "float32"
        raise TypeError(f"{name} has {dtype_of(array)}: expected float32 or float64; {cast_hint(name, array, native)}")
    return backend


def dtype_of(array: Any) -> str:
    """The dtype for an error message, with a note if its byte order is not this machine's."""
    return f"dtype {array.dtype}{'' if array.dtype.isnative else ', in the byte order of another machine'}"


def is_read_only(array: Any) -> bool:
    """Whether `array` is a NumPy array that can't be written."""
    return not getattr(getattr(array, "flags", None), "writeable", True)


def check_place(name: str, array: Any, backend: Backend, device: Any, beside: str) -> None:
    """Raises TypeError unless `array` is on this backend, ValueError unless it is on this device.

    beside   an array on this backend and device: its name, for the error
    """
    if not backend.owns(array):
        backend_of(array, name)  # raises a clearer error if it is not an array
        raise TypeError(
            f"{name} is a {kind_of(array)}, but {beside} is on the {backend.name} backend: use "
            f"xrnn.asarray({name}, backend={backend.name!r}), or XRNN_BACKEND=numpy to keep everything on the CPU"
        )
    if array.device != device:
        raise ValueError(f"{name} is on device {array.device}, but {beside} is on {device}: create both on one device")


def check_index(name: str, index: Any, backend: Backend, device: Any, beside: str) -> None:
    """As `check_place`, and raises TypeError unless `index` holds integers."""
    check_place(name, index, backend, device, beside)
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {index.dtype}: expected integers; use {name}.astype('int64')")


def check_range(name: str, index: Any, size: int, backend: Backend, remedy: str) -> None:
    """Raises IndexError for values outside [0, size), if the backend reads values without waiting."""
    if backend.reads_are_free and index.size and not 0 <= index.min() <= index.max() < size:
        raise IndexError(
            f"{name} holds values from {index.min()} to {index.max()}: expected 0 to {size - 1}; "
            f"check the data, or {remedy}"
        )


def _check_lengths_range(lengths: Any, N: int, T: int) -> None:
    if lengths.shape == (N,) and N and not 0 <= lengths.min() <= lengths.max() <= T:
        raise ValueError(
            f"lengths holds values from {lengths.min()} to {lengths.max()}: expected 0 to {T}, the steps of x; "
            "check them, or pad x"
        )


def check_bool(name: str, value: Any) -> bool:
    """`value` as a bool.   Raises TypeError unless it is True or False, of Python or NumPy."""
    if not isinstance(value, (bool, np.bool_)):  # a union is made at each call, and that takes longer
        raise TypeError(f"{name} is {_shown(value)}: expected True or False; use bool({name})")
    return bool(value)


def check_integer(name: str, value: Any, *, least: int) -> int:
    """`value` as an int.   Raises TypeError unless it is an integer, ValueError below `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} is {_shown(value)}: expected an integer, at least {least}; use int({name})")
    if value < least:
        raise ValueError(f"{name} is {value}: expected an integer, at least {least}")
    return int(value)


def check_number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """`value` as a float.   Raises TypeError unless it is a number of Python or NumPy, ValueError unless it `fits`.

    expected   describes a valid value in the error
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {_shown(value)}: expected {expected}; use float({name.partition(' of ')[0]})")
    try:
        number = float(value)
    except OverflowError:  # an int that no float holds
        number = -math.inf if value < 0 else math.inf
    if not fits(number):
        raise ValueError(f"{name} is {number}: expected {expected}")
    return number


def _shown(value: Any) -> str:
    """A value for an error of one line: the type of an array or of something else with a long text."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else f"a {kind_of(value)}"


def check_size(name: str, value: Any) -> int:
    return check_integer(name, value, least=1)


def check_lengths(lengths: Any, N: int, T: int, backend: Backend, device: Any, beside: str) -> Array:
    """A copy of `lengths`, (N,) integers in [0, T], as int64 on `device`. A host array or a list is moved there.

    Their range is checked if they come from the host or the backend reads values without waiting.

    Raises TypeError for anything but integers, ValueError for another shape, range or device.
    """
    if isinstance(lengths, np.ma.MaskedArray):
        raise TypeError("lengths is a numpy.ma.MaskedArray: expected plain integers; use lengths.filled(0)")
    if not backend.owns(lengths) and isinstance(lengths, np.ndarray | list | tuple):
        on_host = _host_array("lengths", lengths, "integers, one for each row of x")
        if on_host.size and on_host.dtype.kind not in "iu":
            raise TypeError(f"lengths has dtype {on_host.dtype}: expected integers; use np.asarray(lengths, 'int64')")
        _check_lengths_range(on_host, N, T)
        lengths = backend.asarray(on_host.astype("int64"))
    check_index("lengths", lengths, backend, device, beside)
    if lengths.shape != (N,):
        raise ValueError(f"lengths has shape {lengths.shape}: expected ({N},), one for each row of x")
    if backend.reads_are_free:
        _check_lengths_range(lengths, N, T)
    return lengths.astype("int64")  # a copy: `backward` reads it later, when the caller may have changed its array


def check_leak(leak: Any, b: Array, backend: Backend) -> float | Array | None:
    """A leak for the bias b (H,): a number in (0, 1], or an array (H,) of them on b's device in its dtype.

    None for the number 1, which means no leak. Raises TypeError for other objects, ValueError for another shape or
    range.
    """
    expected = f"expected a number in (0, 1], or an array of {len(b)} such numbers, one for each unit"
    if isinstance(leak, Real) and not isinstance(leak, bool):
        if not 0 < b.dtype.type(leak) <= 1:
            raise ValueError(f"leak is {leak}: {expected}; leave it out for a layer without leak")
        return None if leak == 1 else float(leak)
    if isinstance(leak, list | tuple):
        leak = _host_array("leak", leak, f"a number in (0, 1], or {len(b)}, one for each unit")
    if not hasattr(leak, "shape"):
        raise TypeError(f"leak is {leak!r}: {expected}; use float(leak)")
    if type(leak) is not np.ndarray:
        check_place("leak", leak, backend, b.device, "b")
    if leak.dtype.kind not in "fiu":
        raise TypeError(f"leak has dtype {leak.dtype}: {expected}; {cast_hint('leak', leak, b.dtype.name)}")
    if leak.shape != b.shape:
        raise ValueError(f"leak has shape {leak.shape}: {expected}; b is {b.shape}")
    if isinstance(leak, np.ndarray):
        leak = leak.astype(b.dtype)
    if (isinstance(leak, np.ndarray) or backend.reads_are_free) and not ((leak > 0) & (leak <= 1)).all():
        raise ValueError(f"leak holds values from {leak.min()} to {leak.max()}: expected numbers in (0, 1]; check them")
    with backend.device_of(b):
        # A copy, because the layer computes 1 - leak only once, and the caller may change its array later.
        return backend.asarray(leak, b.dtype).copy()


def logit_of_leak(leak: Any, b: Array, backend: Backend) -> Array:
    """leak_logit (H,) with leak = σ(leak_logit), on b's device in its dtype.

    Raises as `check_leak` does, and ValueError for a leak of 1, which σ reaches at infinity only.
    """
    xp = backend.xp
    checked = check_leak(leak, b, backend)
    leaks: Any = checked if hasattr(checked, "shape") else b.dtype.type(checked or 1)  # this may round to 1
    if (leaks.ndim == 0 or backend.reads_are_free) and (leaks == 1).any():
        raise ValueError("leak is 1 where its training starts: expected numbers below 1; start at 0.99")
    with backend.device_of(b):
        leaks = leaks if leaks.ndim else xp.full(b.shape, leaks, b.dtype)
        logit: Array = xp.log(leaks) - xp.log1p(-leaks)
    return logit


def _host_array(name: str, values: Any, expected: str) -> HostArray:
    """`values` as a NumPy array.   Raises TypeError for nested lists of unequal lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise TypeError(f"{name} is a {kind_of(values)} of lists of unequal lengths: expected {expected}") from error
