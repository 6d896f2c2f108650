"""`cupy.cuda`: devices, streams, the runtime and the driver."""

import ctypes
from typing import Any

from tests.standin._device import Device, Event, Stream, get_current_stream, get_elapsed_time
from tests.standin.cuda import driver, runtime


def set_allocator(allocator: Any = None) -> None:
    """NumPy's memory is all there is."""


def alloc_pinned_memory(size: int) -> Any:
    """Host memory that kernels can reach: a buffer whose address is `ptr`."""

    class PinnedMemoryPointer(ctypes.c_char * size):  # type: ignore[misc]
        ptr = property(ctypes.addressof)

    return PinnedMemoryPointer()


__all__ = [
    "Device",
    "Event",
    "Stream",
    "alloc_pinned_memory",
    "driver",
    "get_current_stream",
    "get_elapsed_time",
    "runtime",
    "set_allocator",
]
