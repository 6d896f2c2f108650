"""`cupy.cuda`: devices, streams, the runtime and the driver."""

import ctypes
from typing import Any

from tests.standin._device import Device, Stream, get_current_stream
from tests.standin.cuda import driver, runtime


def is_available() -> bool:
    return True


def alloc_pinned_memory(size: int) -> Any:
    """Host memory that kernels can reach: a buffer whose address is `ptr`."""

    class PinnedMemoryPointer(ctypes.c_char * size):  # type: ignore[misc]
        ptr = property(ctypes.addressof)

    return PinnedMemoryPointer()


__all__ = ["Device", "Stream", "alloc_pinned_memory", "driver", "get_current_stream", "is_available", "runtime"]
