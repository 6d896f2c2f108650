"""`cupy.cuda.runtime`: what can be asked about the pretend devices."""

from __future__ import annotations

from typing import Any

from tests.standin._device import DEVICE_COUNT, CUDARuntimeError, current_device
from tests.standin.counting import wait

__all__ = [
    "CUDARuntimeError",
    "deviceSynchronize",
    "driverGetVersion",
    "getDevice",
    "getDeviceCount",
    "getDeviceProperties",
    "runtimeGetVersion",
]


def getDeviceCount() -> int:
    return DEVICE_COUNT


def getDevice() -> int:
    return current_device().id


def getDeviceProperties(device: int) -> dict[str, Any]:
    """The figures that launch code asks for, those of a GPU of compute capability 9.0."""
    if not 0 <= device < DEVICE_COUNT:
        raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
    return {
        "name": b"pretend GPU",
        "major": 9,
        "minor": 0,
        "multiProcessorCount": 132,
        "maxThreadsPerMultiProcessor": 2048,
        "regsPerMultiprocessor": 65_536,
        "sharedMemPerBlockOptin": 232_448,
        "sharedMemPerMultiprocessor": 233_472,
        "l2CacheSize": 52_428_800,
        "totalGlobalMem": 85_899_345_920,
        "warpSize": 32,
        "cooperativeLaunch": 1,
    }


def deviceSynchronize() -> None:
    wait("waits", "deviceSynchronize()")


def runtimeGetVersion() -> int:
    return 13_000


def driverGetVersion() -> int:
    return 13_000
