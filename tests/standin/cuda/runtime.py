"""`cupy.cuda.runtime`: what can be asked about the pretend devices."""

from __future__ import annotations

from typing import Any

from tests.standin._device import DEVICE_COUNT, CUDARuntimeError, current_device

__all__ = [
    "CUDA_R_32F",
    "CUDARuntimeError",
    "driverGetVersion",
    "getDevice",
    "getDeviceCount",
    "getDeviceProperties",
    "memGetInfo",
    "runtimeGetVersion",
]

CUDA_R_32F = 0


def getDeviceCount() -> int:
    return DEVICE_COUNT


def getDevice() -> int:
    return current_device().id


def getDeviceProperties(device: int) -> dict[str, Any]:
    """Those that the backend describes, of a GPU of compute capability 9.0."""
    if not 0 <= device < DEVICE_COUNT:
        raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
    return {
        "name": b"pretend GPU",
        "major": 9,
        "minor": 0,
        "multiProcessorCount": 132,
        "totalGlobalMem": 85_899_345_920,
    }


def memGetInfo() -> tuple[int, int]:
    """Free and total bytes."""
    return 80 * 2**30, 80 * 2**30


def runtimeGetVersion() -> int:
    return 13_000


def driverGetVersion() -> int:
    return 13_000
