"""The text of `xrnn info` about the CuPy backend: the devices, and the form of each operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xrnn.backend import MULTIPLYING, RECURRENCES, Explanation, Operation, fused_forms, precision
from xrnn.backends.cupy import CupyBackend, choice
from xrnn.backends.cupy.cells import kernel_of
from xrnn.backends.cupy.choice import candidates
from xrnn.backends.cupy.products import tf32_by_environment
from xrnn.ops.cell import Cell


def describe(backend: CupyBackend) -> dict[str, str]:
    """The facts for `xrnn info`: CuPy, CUDA and the devices."""
    runtime = backend.xp.cuda.runtime
    return {
        "CuPy": backend.xp.__version__,
        "CUDA": f"{_version(runtime.runtimeGetVersion())}, driver up to {_version(runtime.driverGetVersion())}",
        **{f"device {i}": _device(runtime.getDeviceProperties(i)) for i in range(runtime.getDeviceCount())},
    }


def explain(
    backend: CupyBackend, default: Explanation, operation: Operation, cell: Cell, shapes: Mapping[str, int], dtype: Any
) -> Explanation:
    """Which form of `operation` runs, and why: see `xrnn.info.explain`."""
    dtype = np.dtype(dtype)
    if operation == "matmul_add" and dtype.char in "fd" and fused_forms().enabled:
        return Explanation("gemm", "one cuBLAS call accumulates into its output" + _reduced(backend, dtype))
    if operation not in RECURRENCES or not fused_forms().enabled:
        if operation not in MULTIPLYING:
            return default
        return replace(default, why=default.why + _reduced(backend, dtype))
    kernel = kernel_of(cell)
    if kernel is None:
        return Explanation("plain", f"there is no kernel for the cell {cell.name!r}")
    sizes = *(shapes[letter] for letter in "TNDH"), shapes.get("heads", 1)
    backward = operation == "recurrence_backward"
    request = backend.request(kernel, backward, dtype.name, sizes)
    chosen, reasons, _ = backend.tested(request)
    if reasons:
        return Explanation("plain" if chosen is None else chosen.form, reasons)
    found = candidates(backend.launcher.device(), request)
    if chosen is None:
        return Explanation("plain", f"there is no kernel for {dtype.name} or for empty or gigantic arrays")
    step = f"{chosen.step_seconds * 1e6:.1f} µs a step by prediction"
    reduced = _reduced(backend, dtype)
    if not kernel.fed:
        return Explanation(chosen.form, f"{step}, without a recurrent product{reduced}")
    why = f"{step}, the best of {len(found)} candidates"
    if reduced:
        why += f"{reduced}, except the recurrent product of this kernel: float32"
    return Explanation(chosen.form, why)


def tables(backend: CupyBackend, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> str:
    """The candidates that compete at these sizes; "" for a cell without a kernel."""
    kernel = kernel_of(cell)
    return "" if kernel is None else choice.tables(backend.launcher.device(), kernel.name, shapes, dtype)


def _reduced(backend: CupyBackend, dtype: Any) -> str:
    """The precision of cuBLAS products of arrays of this dtype, for `explain`; "" for that of the arrays."""
    if dtype.char == "f" and (tf32 := tf32_by_environment()):
        return f"; {tf32} lets products use TF32, so kernels are compared less strictly"
    if dtype.char != "f" or not (precision().tf32 or precision().bfloat16):
        return ""
    if not backend.launcher.cublas.is_capable():
        return f"; products in float32: {precision().name} needs compute capability 8.0"
    return f"; products by cuBLAS in {precision().name}"


def _version(number: int) -> str:
    """CUDA's 12040 as 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _device(properties: Mapping[str, Any]) -> str:
    return (
        f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}, "
        f"{properties['multiProcessorCount']} multiprocessors, {properties['totalGlobalMem'] / 2**30:.0f} GiB"
    )
