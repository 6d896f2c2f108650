"""Two pretend devices and their streams. As in CuPy, what is current belongs to the thread."""

from __future__ import annotations

import itertools
import threading
import time
from typing import ClassVar, Self

from tests.standin.counting import count, count_stream, wait

DEVICE_COUNT = 2


class CUDARuntimeError(RuntimeError):
    """What a failing call of the CUDA runtime raises; `status` is its error code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Device:
    """A CUDA device; `with device:` makes it the current one."""

    # A data-centre GPU of compute capability 9.0, as far as a kernel's launch code asks.
    compute_capability = "90"
    pci_bus_id = "0000:00:1E.0"
    attributes: ClassVar[dict[str, int]] = {
        "MultiProcessorCount": 132,
        "MaxSharedMemoryPerBlockOptin": 232_448,
        "ClockRate": 1_980_000,
        "L2CacheSize": 52_428_800,
        "MemoryClockRate": 2_619_000,
        "GlobalMemoryBusWidth": 5120,
        "CooperativeLaunch": 1,
        "KernelExecTimeout": 0,
    }

    def __init__(self, device: int | None = None) -> None:
        self.id: int = _current.device.id if device is None else int(device)
        self._entered: list[Device] = []

    def use(self) -> None:
        if not 0 <= self.id < DEVICE_COUNT:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        _current.device = self

    def __enter__(self) -> Self:
        self._entered.append(_current.device)
        self.use()
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.pop().use()

    def synchronize(self) -> None:
        wait("waits", "Device.synchronize()")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Stream:
    """A CUDA stream; `with stream:` makes it the current one. All work is done at once, so only the counts differ."""

    null: ClassVar[Stream]
    _pointers = itertools.count()

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        self.ptr = next(self._pointers)
        self._entered: list[Stream] = []

    def use(self) -> Self:
        _current.stream = self
        return self

    def is_capturing(self) -> bool:
        return False

    def __enter__(self) -> Self:
        self._entered.append(_current.stream)
        return self.use()

    def __exit__(self, *error: object) -> None:
        self._entered.pop().use()

    def synchronize(self) -> None:
        wait("waits", "Stream.synchronize()")


Stream.null = Stream(null=True)


class Event:
    """A point in a stream, with the time at which it was reached."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._seconds: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self._seconds = time.perf_counter()

    def synchronize(self) -> None:
        wait("waits", "Event.synchronize()")


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds."""
    if start_event._seconds is None or end_event._seconds is None:
        raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: invalid resource handle")
    return (end_event._seconds - start_event._seconds) * 1e3


class _Current(threading.local):
    device = Device(0)
    stream = Stream.null


_current = _Current()


def current_device() -> Device:
    return _current.device


def get_current_stream(device_id: int = -1) -> Stream:
    return _current.stream


def launch(event: str, *devices: Device) -> None:
    """Count a launch on the current stream. A kernel reaches the memory of its own device only.

    CuPy goes on, slowly and with a warning, where the two devices can reach each other; here it is an error.
    """
    for device in devices:
        if device != _current.device:
            raise ValueError(
                f"Array device must be same as the current device: "
                f"array device = {device.id} while current = {_current.device.id}"
            )
    count(event)
    count_stream(_current.stream)
