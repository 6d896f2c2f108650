"""What the rest of the stand-in needs to know of a device array: its memory and its device."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from tests.standin._device import Device, current_device

SUPPORTED_DTYPES = "?bBhHiIlLqQefdFD"


class DeviceMemory:
    """A NumPy array that plays device memory. Nothing but the stand-in may look at `_host`."""

    _host: np.ndarray[Any, np.dtype[Any]]
    device: Device

    @classmethod
    def _of(cls, host: Any, device: Device | None = None) -> Self:
        """The device array over `host`, which must not be the caller's own memory."""
        host = np.asarray(host)  # NumPy's reductions give scalars, CuPy's give 0-d arrays
        if host.dtype.char not in SUPPORTED_DTYPES:
            raise ValueError(f"Unsupported dtype {host.dtype}")
        array = cls.__new__(cls)
        array._host = host
        array.device = device or current_device()
        return array


def device_arrays(value: Any) -> list[DeviceMemory]:
    """The device arrays in an argument, lists and tuples of them included."""
    if isinstance(value, DeviceMemory):
        return [value]
    if isinstance(value, (list, tuple)):
        return [array for item in value for array in device_arrays(item)]
    return []


def host(value: Any) -> Any:
    """An argument as NumPy takes it. NumPy's own arrays are refused: CuPy never converts one silently."""
    if isinstance(value, DeviceMemory):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(host(item) for item in value)
    if isinstance(value, dict):
        return {name: host(item) for name, item in value.items()}
    return value
