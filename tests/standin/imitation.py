"""The stand-in's devices as a GPU of choice."""

from __future__ import annotations

from collections.abc import Callable

from tests.standin._device import Device
from tests.standin.cuda import runtime
from xrnn.backends.cupy.choice import Device as GPU


def imitate(setattr: Callable[..., None], gpu: GPU) -> None:
    """Let the stand-in's devices be `gpu`."""
    attributes = {
        "MultiProcessorCount": gpu.multiprocessors,
        "MaxSharedMemoryPerBlockOptin": gpu.shared_bytes,
        "ClockRate": round(gpu.clock / 1000),  # in kHz
        "L2CacheSize": gpu.l2_bytes,
        "MemoryClockRate": gpu.bandwidth / 2e3 / 128,  # 1024 bits wide
        "GlobalMemoryBusWidth": 1024,
        "CooperativeLaunch": int(gpu.cooperative),
        "KernelExecTimeout": int(gpu.watchdog),
    }
    setattr(Device, "attributes", attributes)
    setattr(Device, "compute_capability", gpu.capability)
    properties = {
        **runtime.getDeviceProperties(0),
        "name": gpu.name.encode(),
        "major": int(gpu.capability[:-1]),
        "minor": int(gpu.capability[-1]),
        "multiProcessorCount": gpu.multiprocessors,
    }
    setattr(runtime, "getDeviceProperties", lambda number: properties)
