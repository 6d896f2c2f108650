"""The CuPy backend: CUDA GPUs. The only place that imports cupy.

Everything runs on the current stream and on the device of its arrays; nothing waits for the device.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from xrnn.backend import RECURRENCES, Backend, Explanation, Operation, fused_enabled
from xrnn.backends.cupy.choice import Candidate, candidates, choose, table
from xrnn.backends.cupy.launch import Launcher
from xrnn.backends.cupy.probe import import_cupy, probe
from xrnn.backends.cupy.trust import Trust, not_resident
from xrnn.ops import recurrence
from xrnn.ops.cell import Cell
from xrnn.ops.cells.rnn import RNNCell
from xrnn.ops.recurrence import Inputs, Trace
from xrnn.typing import Array, ArrayIfNeeded


class CupyBackend(Backend):
    """Arrays in the memory of a CUDA device. Takes the module it runs on, so that tests can hand it another."""

    name = "cupy"
    one_device_remedy = "create both under the same cupy.cuda.Device"
    dlpack_devices = (2, 13)  # kDLCUDA, kDLCUDAManaged

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

    def address(self, array: Array) -> int:
        memory: Any = array.data
        return int(memory.ptr)

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b in one cuBLAS call (beta = 1), which copies nothing as long as all three are contiguous."""
        contiguous = all(array.flags.c_contiguous or array.flags.f_contiguous for array in (a, b, out))
        if not (fused_enabled() and out.size and a.size and contiguous and out.dtype.char in "fd"):
            return super().matmul_add(a, b, out)
        self._gemm("N", "N", a, b, out=out, alpha=1.0, beta=1.0)
        return None

    def recurrence_forward(self, cell: Cell, inputs: Inputs, training: bool) -> Trace:
        chosen = self._choose(cell, inputs, backward=False)
        if chosen is not None and type(cell) is RNNCell:
            with self.trust.noting(chosen, inputs.x.dtype, inputs.Wh.shape[0]):
                return self.launcher.forward(chosen, cell, inputs)
        return super().recurrence_forward(cell, inputs, training)

    def recurrence_backward(
        self,
        cell: Cell,
        trace: Trace,
        dstates: Sequence[Array | None],
        grads: Sequence[Array] | None,
        needs_dx: bool = True,
    ) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
        inputs, dh = trace.inputs, dstates[0]
        chosen = self._choose(cell, inputs, backward=True)
        if chosen is not None and type(cell) is RNNCell and dh is not None:
            with self.trust.noting(chosen, inputs.x.dtype, inputs.Wh.shape[0]):
                dz, dh_prev = self.launcher.backward(chosen, cell, trace, dh[None] if inputs.x.ndim == 2 else dh)
                return recurrence.products(self.xp, cell, trace, dz, grads, needs_dx), (dh_prev,)
        return super().recurrence_backward(cell, trace, dstates, grads, needs_dx)

    def _choose(self, cell: Cell, inputs: Inputs, *, backward: bool) -> Candidate | None:
        """The kernel to launch on the current device, None for the plain form."""
        self.launcher.raise_if_gave_up()
        if not fused_enabled() or type(cell) is not RNNCell or inputs.lengths is not None or inputs.reverse:
            return None
        (T, N, D), dtype, H = inputs.sizes(), inputs.x.dtype, inputs.Wh.shape[0]
        chosen = choose(self.launcher.device(), dtype, T, N, D, H)
        return None if chosen.form == "plain" or self.against(chosen, dtype, H, backward) else chosen

    def against(self, chosen: Candidate, dtype: Any, H: int, backward: bool) -> str | None:
        """Why the chosen kernel can't run here after all, None where it can."""
        if doubts := self.trust.doubts(chosen, dtype, H):
            return doubts
        if self.launcher.fits(chosen, dtype, backward):
            return None
        return not_resident(chosen)

    def explain(self, operation: Operation, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> Explanation:
        dtype = np.dtype(dtype)
        if operation == "matmul_add" and dtype.char in "fd" and fused_enabled():
            return Explanation("gemm", "one cuBLAS call accumulates into its output")
        if operation not in RECURRENCES or not fused_enabled():
            return super().explain(operation, cell, shapes, dtype)
        if type(cell) is not RNNCell:
            return Explanation("plain", f"there is no kernel for the cell {cell.name!r}")
        sizes = self.launcher.device(), dtype, *(shapes[letter] for letter in "TNDH")
        chosen, count = choose(*sizes), len(candidates(*sizes))
        backward = operation == "recurrence_backward"
        if chosen.form != "plain" and (against := self.against(chosen, dtype, shapes["H"], backward)):
            return Explanation("plain", f"not {chosen.form}: {against}")
        return Explanation(
            chosen.form, f"{chosen.step_seconds * 1e6:.1f} µs a step by prediction, the best of {count} candidates"
        )

    def explain_sizes(self, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> str:
        forms = super().explain_sizes(cell, shapes, dtype)
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
