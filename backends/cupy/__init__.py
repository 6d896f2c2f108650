"""The CuPy backend: CUDA GPUs. The only place that imports cupy.

Everything runs on the current stream and on the device of its arrays; nothing waits for the device.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from xrnn.backend import Backend, BackendUnavailableError, Explanation, Operation
from xrnn.ops.rnn import Array, RNNCell

_INSTALL = "`pip install -e '.[cuda13]'` (or `.[cuda12]`, by what `nvidia-smi` prints as CUDA Version)"


class CupyBackend(Backend):
    """Arrays in the memory of a CUDA device. Takes the module it runs on, so that tests can hand it another."""

    name = "cupy"

    def __init__(self, cupy: ModuleType) -> None:
        super().__init__(cupy)
        self._gemm = importlib.import_module(f"{cupy.__name__}.cublas").gemm

    def to_numpy(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        return self.xp.asnumpy(array)  # type: ignore[no-any-return]

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b in one cuBLAS call (beta = 1)."""
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
        names = [f"{i}: {runtime.getDeviceProperties(i)['name'].decode()}" for i in range(runtime.getDeviceCount())]
        return {
            "CuPy": self.xp.__version__,
            "CUDA runtime": str(runtime.runtimeGetVersion()),
            "CUDA driver": str(runtime.driverGetVersion()),
            "devices": ", ".join(names),
        }


def load() -> CupyBackend:
    """The backend on real CuPy, once a GPU has been seen to work.

    Raises BackendUnavailableError with the missing piece and what mends it.
    """
    try:
        import cupy
    except ImportError as error:
        raise BackendUnavailableError(f"CuPy is not installed: {_INSTALL}") from error
    _probe(cupy)
    return CupyBackend(cupy)


def _probe(cupy: Any) -> None:
    """Allocate, compile and run one tiny kernel, one small matrix product: only then believe in the GPU."""
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise BackendUnavailableError(
            f"CuPy {cupy.__version__} finds no working NVIDIA driver ({error}): install or update the driver, "
            "`nvidia-smi` must list a GPU"
        ) from error
    if count == 0:
        raise BackendUnavailableError(
            "the NVIDIA driver shows no CUDA device: check `nvidia-smi` and CUDA_VISIBLE_DEVICES"
        )
    try:
        kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = 2 * x + 1", "xrnn_probe")
        ones = kernel(cupy.zeros((2, 2), dtype="float32"))
        total = float((ones @ ones).sum())
    except Exception as error:
        raise BackendUnavailableError(
            f"CuPy {cupy.__version__} sees a GPU but can't compile or run on it ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}): {_INSTALL}, "
            "which brings the CUDA toolkit parts it needs"
        ) from error
    if total != 8.0:
        raise BackendUnavailableError(
            f"the GPU computed {total} where 8.0 is right: check the device with `nvidia-smi`"
        )
