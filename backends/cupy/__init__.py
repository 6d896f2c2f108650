"""The CuPy backend: CUDA GPUs. The only place that imports cupy.

Everything runs on the current stream and on the device of its arrays; nothing waits for the device.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from xrnn.backend import Backend, Explanation, Operation
from xrnn.backends.cupy.probe import import_cupy, probe
from xrnn.ops.rnn import Array, RNNCell


class CupyBackend(Backend):
    """Arrays in the memory of a CUDA device. Takes the module it runs on, so that tests can hand it another."""

    name = "cupy"

    def __init__(self, cupy: ModuleType) -> None:
        super().__init__(cupy)
        self._gemm = importlib.import_module(f"{cupy.__name__}.cublas").gemm

    def to_numpy(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        return self.xp.asnumpy(array)  # type: ignore[no-any-return]

    def device_of(self, array: Array) -> AbstractContextManager[object]:
        device: Any = array.device  # for type checkers arrays are NumPy's, whose device is a string
        return device  # type: ignore[no-any-return]

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b in one cuBLAS call (beta = 1), which copies nothing as long as all three are contiguous."""
        if not out.size or not a.size or out.dtype.char not in "fd":  # what cublas.gemm refuses
            return super().matmul_add(a, b, out)
        self._gemm("N", "N", a, b, out=out, alpha=1.0, beta=1.0)
        return None

    def explain(self, operation: Operation, cell: RNNCell, shapes: Mapping[str, int], dtype: Any) -> Explanation:
        if operation == "matmul_add" and np.dtype(dtype).char in "fd":
            return Explanation("gemm", "one cuBLAS call accumulates into its output")
        return super().explain(operation, cell, shapes, dtype)

    def describe(self) -> dict[str, str]:
        runtime = self.xp.cuda.runtime
        return {
            "CuPy": self.xp.__version__,
            "CUDA": f"{_version(runtime.runtimeGetVersion())}, driver up to {_version(runtime.driverGetVersion())}",
            **{f"device {i}": _device(runtime.getDeviceProperties(i)) for i in range(runtime.getDeviceCount())},
        }


def _version(number: int) -> str:
    """CUDA's 12040 as 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _device(properties: Mapping[str, Any]) -> str:
    return (
        f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}, "
        f"{properties['multiProcessorCount']} multiprocessors, {properties['totalGlobalMem'] / 2**30:.0f} GiB"
    )


def load() -> CupyBackend:
    """The backend on real CuPy, once a GPU has been seen to work.

    Raises BackendUnavailableError with the missing piece and what mends it.
    """
    cupy = import_cupy()
    probe(cupy)
    return CupyBackend(cupy)
