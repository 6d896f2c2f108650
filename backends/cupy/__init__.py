"""The CuPy backend: CUDA GPUs. The only place that imports cupy.

Everything runs on the current stream and on the device of its arrays; nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend, fused_forms, outline_at, precision
from xrnn.backends.cupy.cells import CellKernel, kernel_of
from xrnn.backends.cupy.choice import Candidate, Request, candidates, choose
from xrnn.backends.cupy.launch import Bound, Launcher, LaunchError, raise_if_lost
from xrnn.backends.cupy.probe import import_cupy, probe
from xrnn.backends.cupy.selftest import SelfTest
from xrnn.ops import recurrence
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import Inputs, Outputs, Trace
from xrnn.ops.products import Products
from xrnn.typing import Array, ArrayIfNeeded, HostArray

_DECISIONS: Final = 1024  # that are remembered: a batch of another length is another decision


class CupyBackend(Backend):
    """Arrays in the memory of a CUDA device. Takes the module it runs on, so that tests can hand it another."""

    name = "cupy"
    info = "xrnn.backends.cupy.info"
    compiles_at_first_use = True
    dlpack_devices = (2, 13)  # kDLCUDA, kDLCUDAManaged

    def __init__(self, cupy: ModuleType) -> None:
        super().__init__(cupy)
        self.launcher = Launcher(cupy)
        cublas = self.launcher.cublas
        self._products = Products(cublas.dot, cublas.matmul, self.matmul_add)
        self.selftest = SelfTest(self, self.launcher)
        # (device, cell, backward, dtype, precision, T, N, D, H, heads) → the kernel that runs, None for the plain form.
        self._decisions: dict[tuple[Any, ...], Bound | None] = {}

    def to_numpy(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        try:
            copy: np.ndarray[Any, np.dtype[Any]] = self.xp.asnumpy(array)
        except Exception as error:
            raise_if_lost(error)
            raise
        with self.device_of(array):
            self.launcher.raise_if_gave_up()
        return copy

    def device_of(self, array: Array) -> AbstractContextManager[object]:
        device: Any = array.device  # for type checkers arrays are NumPy's, whose device is a string
        return device

    def address(self, array: Array) -> int:
        memory: Any = array.data
        return int(memory.ptr)

    def outline(self, array: Array) -> HostArray:
        return outline_at(self.address(array), array.shape, array.strides, array.dtype.str)

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b in one cuBLAS call (beta = 1), which copies nothing as long as all three are contiguous."""
        contiguous = all(array.flags.c_contiguous or array.flags.f_contiguous for array in (a, b, out))
        if fused_forms().enabled and out.size and a.size and contiguous and out.dtype.char in "fd":
            self.launcher.cublas.gemm(a, b, out, 1.0)
        else:
            super().matmul_add(a, b, out)

    def recurrence_forward(self, cell: Cell, inputs: Inputs, training: bool) -> Outputs:
        if bound := self._decide(cell, inputs, False):
            try:
                return self.launcher.forward(bound, cell, inputs, training)
            except Exception as error:
                self._note(bound, error)
        return super().recurrence_forward(cell, inputs, training)

    def recurrence_backward(
        self,
        cell: Cell,
        trace: Trace,
        dstates: Sequence[Array | None],
        grads: Sequence[Array] | None,
        needs_dx: bool = True,
        dadd: Array | None = None,
    ) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
        if bound := self._decide(cell, trace.inputs, True):
            one_step = trace.inputs.x.ndim == 2
            above = [d[None] if one_step and d is not None else d for d in dstates]
            try:
                dparams = () if grads is None else grads[3:]
                for dparam in dparams:
                    dparam.fill(0)
                coefficients = cell.coefficients(self.xp, trace.inputs.own)
                dz, dinitial = self.launcher.backward(bound, cell, trace, above, coefficients, dparams)
                if dparams:
                    cell.params_gradient(self.xp, trace.inputs.own, coefficients, dparams)
                dx = recurrence.from_dz(self.xp, self.products(), cell, trace, dz, grads, needs_dx, dadd)
                return dx, dinitial
            except Exception as error:
                self._note(bound, error)
        return super().recurrence_backward(cell, trace, dstates, grads, needs_dx, dadd)

    def _decide(self, cell: Cell, inputs: Inputs, backward: bool) -> Bound | None:
        """The kernel that runs on the current device, None for the plain form. The first time it is tested there."""
        self.launcher.raise_if_gave_up()
        self.launcher.raise_if_capturing()
        kernel = kernel_of(cell) if fused_forms().enabled else None
        if kernel is None:
            return None
        device = self.xp.cuda.runtime.getDevice()
        dtype = inputs.x.dtype
        sizes = *inputs.sizes(), inputs.heads()
        key = device, kernel.template, backward, dtype.char, precision().name, *sizes
        if key in self._decisions:
            return self._decisions[key]
        request = self.request(kernel, backward, dtype.name, sizes)
        chosen, _, final = self.tested(request)
        bound = None if chosen is None else self.launcher.bind(chosen, request)
        if final:
            if len(self._decisions) >= _DECISIONS:
                self._decisions.clear()
            self._decisions[key] = bound
        return bound

    def request(self, kernel: CellKernel, backward: bool, dtype: str, sizes: Sequence[int]) -> Request:
        """The recurrence of these sizes T, N, D, H and this number of heads, in the precision in effect."""
        return Request(kernel, backward, dtype, *sizes, precision=precision().name)

    def tested(self, request: Request) -> tuple[Candidate | None, str, bool]:
        """→ the fastest candidate; if its self-test fails, the stepwise form; if that fails too, None, the plain form.

        Also why a faster one is not used, "" if none is, and whether the answer stays the same.
        """
        device = self.launcher.device()
        chosen = choose(device, request)
        unlimited, *_ = candidates(device, request)
        reasons: list[str] = []
        all_final = True
        for candidate in dict.fromkeys((chosen, unlimited)):
            if candidate.form == "plain":
                break
            failure, final = self.selftest.failure(candidate, request)
            all_final = all_final and final
            if failure is None:
                return candidate, "; ".join(reasons), all_final
            reasons.append(f"not {candidate.form}: {failure}")
        return None, "; ".join(reasons), all_final

    def _note(self, bound: Bound, error: Exception) -> None:
        """If the launch failed, the plain form runs, and the decisions are made again. Other errors are raised."""
        raise_if_lost(error)
        if not isinstance(error, LaunchError):
            raise error
        self.selftest.note(bound, error)
        self._decisions.clear()


def load() -> CupyBackend:
    """The backend on real CuPy, once a GPU has been seen to work.

    Raises BackendUnavailableError with the missing piece and what mends it.
    """
    cupy = import_cupy()
    probe(cupy)
    return CupyBackend(cupy)
