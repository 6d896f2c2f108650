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

from xrnn.backend import Backend, Explanation, Operation, fused_enabled
from xrnn.backends.cupy.choice import Candidate, candidates, choose, table
from xrnn.backends.cupy.launch import Launcher
from xrnn.backends.cupy.probe import import_cupy, probe
from xrnn.backends.cupy.trust import Trust, not_resident
from xrnn.ops.rnn import RNNCache, RNNCell, weight_gradients
from xrnn.typing import Array


class CupyBackend(Backend):
    """Arrays in the memory of a CUDA device. Takes the module it runs on, so that tests can hand it another."""

    name = "cupy"

    def __init__(self, cupy: ModuleType) -> None:
        super().__init__(cupy)
        self._gemm = importlib.import_module(f"{cupy.__name__}.cublas").gemm
        self.launcher = Launcher(cupy)
        self.trust = Trust(self, self.launcher)

    def to_numpy(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        copy: np.ndarray[Any, np.dtype[Any]] = self.xp.asnumpy(array)
        with self.device_of(array):
            self.launcher.raise_if_gave_up()
        return copy

    def device_of(self, array: Array) -> AbstractContextManager[object]:
        device: Any = array.device  # for type checkers arrays are NumPy's, whose device is a string
        return device  # type: ignore[no-any-return]

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b in one cuBLAS call (beta = 1), which copies nothing as long as all three are contiguous."""
        if not out.size or not a.size or out.dtype.char not in "fd":  # what cublas.gemm refuses
            return super().matmul_add(a, b, out)
        self._gemm("N", "N", a, b, out=out, alpha=1.0, beta=1.0)
        return None

    def recurrence_forward(
        self, cell: RNNCell, x: Array, Wx: Array, Wh: Array, b: Array, h_prev: Array | None
    ) -> RNNCache:
        chosen = self._choose(x.dtype, x.shape, b.shape[0], backward=False)
        if chosen is not None:
            with self.trust.noting(chosen, x.dtype, b.shape[0]):
                return self.launcher.forward(chosen, cell, x, Wx, Wh, b, h_prev)
        return super().recurrence_forward(cell, x, Wx, Wh, b, h_prev)

    def recurrence_backward(
        self, cell: RNNCell, cache: RNNCache, dh: Array, dWx: Array, dWh: Array, db: Array
    ) -> tuple[Array, Array]:
        chosen = self._choose(dh.dtype, cache.x.shape, dh.shape[2], backward=True)
        if chosen is not None:
            with self.trust.noting(chosen, dh.dtype, dh.shape[2]):
                dz, dh_prev = self.launcher.backward(chosen, cell, cache, dh)
                return weight_gradients(self, cache, dz, dWx, dWh, db), dh_prev
        return super().recurrence_backward(cell, cache, dh, dWx, dWh, db)

    def _choose(self, dtype: Any, x_shape: tuple[int, ...], H: int, *, backward: bool) -> Candidate | None:
        """The kernel to launch on the current device, None for the plain form."""
        self.launcher.raise_if_gave_up()
        if not fused_enabled():
            return None
        T, N, D = x_shape
        chosen = choose(self.launcher.device(), dtype, T, N, D, H)
        return None if chosen.form == "plain" or self.against(chosen, dtype, H, backward) else chosen

    def against(self, chosen: Candidate, dtype: Any, H: int, backward: bool) -> str:
        """Why the chosen kernel can't run here after all, "" where it can."""
        if doubts := self.trust.doubts(chosen, dtype, H):
            return doubts
        if self.launcher.fits(chosen, dtype, backward):
            return ""
        return not_resident(chosen)

    def explain(self, operation: Operation, cell: RNNCell, shapes: Mapping[str, int], dtype: Any) -> Explanation:
        dtype = np.dtype(dtype)
        if operation == "matmul_add" and dtype.char in "fd":
            return Explanation("gemm", "one cuBLAS call accumulates into its output")
        if operation not in ("recurrence_forward", "recurrence_backward"):
            return super().explain(operation, cell, shapes, dtype)
        if not fused_enabled():
            return Explanation("plain", "XRNN_FUSED=0 or use_fused(False)")
        sizes = self.launcher.device(), dtype, *(shapes[letter] for letter in "TNDH")
        chosen, count = choose(*sizes), len(candidates(*sizes))
        backward = operation == "recurrence_backward"
        if chosen.form != "plain" and (against := self.against(chosen, dtype, shapes["H"], backward)):
            return Explanation("plain", f"not {chosen.form}: {against}")
        return Explanation(
            chosen.form, f"{chosen.step_seconds * 1e6:.1f} µs a step by prediction, the best of {count} candidates"
        )

    def explain_sizes(self, shapes: Mapping[str, int], dtype: Any) -> str:
        forms = super().explain_sizes(shapes, dtype)
        return f"{forms}\n{table(self.launcher.device(), dtype, *(shapes[letter] for letter in 'TNDH'))}"

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
