"""Checks at the door. Each error is one line: what was expected, what came, and the remedy.

Layers, losses and optimizers check what they are given once; the operations behind them trust it.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from xrnn.backend import Backend
from xrnn.select import backend_of, kind_of
from xrnn.typing import Array, HostArray


def check_float(name: str, array: Any) -> Backend:
    """The backend of `array`, which must be a float32 or float64 array of one.   Raises TypeError."""
    backend = backend_of(array, name)
    if array.dtype not in (np.float32, np.float64):
        native = "float64" if array.dtype.str[1:] == "f8" else "float32"
        raise TypeError(f"{name} has {dtype_of(array)}: expected float32 or float64; use {name}.astype({native!r})")
    return backend


def dtype_of(array: Any) -> str:
    """The dtype as an error shows it. `>f4` alone says little to whoever has read a file of another machine."""
    return f"dtype {array.dtype}{'' if array.dtype.isnative else ', in the byte order of another machine'}"


def check_place(name: str, array: Any, backend: Backend, device: Any, beside: str) -> None:
    """Refuse an array that does not lie where `beside` does.   Raises TypeError, ValueError for another device."""
    if not backend.owns(array):
        backend_of(array, name)  # has its own words for what is no array at all
        raise TypeError(
            f"{name} is a {kind_of(array)}, but {beside} is on the {backend.name} backend: use "
            f"xrnn.asarray({name}, backend={backend.name!r}), or XRNN_BACKEND=numpy to keep everything on the CPU"
        )
    if array.device != device:
        raise ValueError(
            f"{name} is on device {array.device}, but {beside} is on {device}: {backend.one_device_remedy}"
        )


def check_index(name: str, index: Any, backend: Backend, device: Any, beside: str) -> None:
    """Refuse what is not an integer array where `beside` lies.   Raises TypeError, ValueError for another device."""
    check_place(name, index, backend, device, beside)
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {index.dtype}: expected integers; use {name}.astype('int64')")


def check_range(name: str, index: Any, size: int, backend: Backend) -> None:
    """Refuse values outside [0, size), where reading them costs no wait.   Raises IndexError."""
    if backend.reads_are_free and index.size and not 0 <= index.min() <= index.max() < size:
        raise IndexError(
            f"{name} holds values from {index.min()} to {index.max()}: expected 0 to {size - 1}; "
            "check the data, or make the table larger"
        )


def _check_lengths_on_host(lengths: Any, N: int, T: int) -> None:
    if lengths.shape == (N,) and N and not 0 <= lengths.min() <= lengths.max() <= T:
        raise ValueError(
            f"lengths holds values from {lengths.min()} to {lengths.max()}: expected 0 to {T}, the steps of x; "
            "check them, or pad x"
        )


def check_bool(name: str, value: Any) -> bool:
    """`value`, which must be True or False, of Python or NumPy.   Raises TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}: expected True or False; use bool({name})")
    return bool(value)


def check_integer(name: str, value: Any, *, least: int) -> int:
    """`value`, which must be an integer, and at least `least`.   Raises TypeError, ValueError."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: expected an integer, at least {least}; use int({name})")
    if value < least:
        raise ValueError(f"{name} is {value}: expected an integer, at least {least}")
    return int(value)


def check_number(name: str, value: Any, expected: str, fits: Callable[[Any], bool]) -> None:
    """Refuse what is no number of the host, or does not fit what is `expected`.   Raises TypeError, ValueError."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: expected {expected}; use float({name})")
    if not fits(value):
        raise ValueError(f"{name} is {value}: expected {expected}")


def check_size(name: str, value: Any) -> int:
    return check_integer(name, value, least=1)


def check_lengths(lengths: Any, N: int, T: int, backend: Backend, device: Any, beside: str) -> Array:
    """(N,) integers in [0, T], moved from the host if need be; their range is checked where reading is free.

    Raises TypeError for what is no array of integers, ValueError for another shape, range or device.
    """
    if isinstance(lengths, np.ma.MaskedArray):
        raise TypeError("lengths is a numpy.ma.MaskedArray: expected plain integers; use lengths.filled(0)")
    if not backend.owns(lengths) and isinstance(lengths, np.ndarray | list | tuple):
        on_host = _host_array("lengths", lengths, "integers, one for each row of x")
        if on_host.size and on_host.dtype.kind not in "iu":
            raise TypeError(f"lengths has dtype {on_host.dtype}: expected integers; use np.asarray(lengths, 'int64')")
        _check_lengths_on_host(on_host, N, T)
        lengths = backend.asarray(on_host.astype("int64"))
    check_index("lengths", lengths, backend, device, beside)
    if lengths.shape != (N,):
        raise ValueError(f"lengths has shape {lengths.shape}: expected ({N},), one for each row of x")
    if backend.reads_are_free:
        _check_lengths_on_host(lengths, N, T)
    copied: Array = lengths.astype("int64")  # backward reads them again: the caller's array may change until then
    return copied


def check_leak(leak: Any, b: Array, backend: Backend) -> float | Array | None:
    """A number in (0, 1], or as many as b (H,) has, on its device and in its dtype; None for 1, which is no leak.

    Raises TypeError for what is no number, ValueError for another shape or range.
    """
    expected = f"expected a number in (0, 1], or an array of {len(b)} such numbers, one a unit"
    if isinstance(leak, Real) and not isinstance(leak, bool):
        if not 0 < b.dtype.type(leak) <= 1:
            raise ValueError(f"leak is {leak}: {expected}; leave it out for a layer without leak")
        return None if leak == 1 else float(leak)
    if isinstance(leak, list | tuple):
        leak = _host_array("leak", leak, f"a number in (0, 1], or {len(b)}, one a unit")
    if not hasattr(leak, "shape"):
        raise TypeError(f"leak is {leak!r}: {expected}; use float(leak)")
    if type(leak) is not np.ndarray:
        check_place("leak", leak, backend, b.device, "b")
    if leak.dtype.kind not in "fiu":
        raise TypeError(f"leak has dtype {leak.dtype}: {expected}; use leak.astype({b.dtype.name!r})")
    if leak.shape != b.shape:
        raise ValueError(f"leak has shape {leak.shape}: {expected}; b is {b.shape}")
    if isinstance(leak, np.ndarray):
        leak = leak.astype(b.dtype)
    if (isinstance(leak, np.ndarray) or backend.reads_are_free) and not ((leak > 0) & (leak <= 1)).all():
        raise ValueError(f"leak holds values from {leak.min()} to {leak.max()}: expected numbers in (0, 1]; check them")
    with backend.device_of(b):
        return backend.asarray(leak, b.dtype).copy()  # 1 - leak is taken once: the caller's array may change


def _host_array(name: str, values: Any, expected: str) -> HostArray:
    """NumPy's array of a list.   Raises TypeError where it is none of equal parts."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise TypeError(f"{name} is a {kind_of(values)} of unequal parts: expected {expected}") from error
