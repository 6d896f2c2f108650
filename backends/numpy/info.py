"""The text of `xrnn info` about the NumPy backend: the machine, the kernels, and the form of each operation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from xrnn import optional
from xrnn.backend import MULTIPLYING, RECURRENCES, STATE_SPACES, Backend, Explanation, Operation, fused_forms, precision
from xrnn.backends import numpy as cpu
from xrnn.backends.numpy import machine
from xrnn.ops.cell import Cell


def describe(backend: Backend) -> dict[str, str]:
    """The facts for `xrnn info`: the machine, the compiled kernels, and their threads."""
    if not cpu.kernels:
        return {**machine.describe(), "compiled kernels": not_built()}
    return {
        **machine.describe(),
        "compiled kernels": cpu.kernels.compiler(),
        "instruction set": _level(),
        "products in bfloat16": _in_bfloat16(),
        "threads": _threads(),
    }


def explain(
    backend: Backend, default: Explanation, operation: Operation, cell: Cell, shapes: Mapping[str, int], dtype: Any
) -> Explanation:
    """Which form of `operation` runs, and why: see `xrnn.info.explain`."""
    if not backend.overrides(operation) or not fused_forms().enabled:
        return default
    if operation == "add_rows":
        return Explanation("sorted", "the indices are sorted once, then each run of equal ones is summed")
    if not cpu.kernels:
        return Explanation("plain", not_built() + _products(operation, dtype))
    if operation in STATE_SPACES:
        why = f"{cpu.kernels.level()}, threads divide rows and channels"
        if operation.startswith("selective_scan"):
            why += "; the plain form if B or C is (D, K)"
        return Explanation("fused", why)
    if operation in (*RECURRENCES, "int8_forward") and not cpu.kernel_of(cell):
        why = f"there is no kernel for the cell {cell.name!r}"
        return Explanation("plain", why + _products(operation, dtype, has_kernel=False))
    if operation == "int8_forward" and shapes.get("heads", 1) > 1:
        return Explanation("plain", "quantize takes no layers with heads")
    if operation == "int8_forward" and cell.components > 1:
        return Explanation("plain", f"there is no int8 kernel for the complex states of the cell {cell.name!r}")
    if operation == "int8_forward":
        return Explanation("fused", cpu.kernels.int8_instructions(shapes["N"]))
    why = cpu.kernels.level()
    by = cpu.kernels.products_by(precision().products)
    products = _products(operation, dtype, by)
    if operation in RECURRENCES:
        T, N, D, H = (shapes[letter] for letter in "TNDH")
        itemsize = np.dtype(dtype).itemsize
        tiles = False
        gates, columns = len(cell.from_x) * cell.components, len(cell.from_h) * H
        heads = shapes.get("heads", 1)
        units = H // heads  # of a head
        if by and itemsize == 4:
            sizes = (T, N, D + units, columns) if columns else (1, min(T * N, 2**62), D, gates * H)
            itemsize, tiles = cpu.kernels.form(precision().products, *sizes, heads, units)
            why_not = "too few rows, or too small" if "amx" in by else "too small"
            if heads > 1 and ("amx" in by or units % 2):
                why_not = "it has heads" if "amx" in by else "its heads have an odd number of units"
            products = f", products in float32: {why_not}" if itemsize == 4 and not tiles else _by(by)
        most = cpu.kernels.max_threads()
        if columns:
            divided = cpu.kernels.partition(T, N, D + units, columns, itemsize, most, (D, gates * H), tiles)
        else:
            divided = cpu.kernels.scan_partition(T, N, D, gates, H, itemsize, most, tiles)
        threads, split, project_first = divided
        why += f", {threads} threads by {split}" if threads > 1 else ", one thread"
        if project_first and operation == "recurrence_forward":
            why += ", x @ Wx first"
    return Explanation("fused", why + products)


def _products(operation: Operation, dtype: Any, by: str | None = None, has_kernel: bool = True) -> str:
    """The precision of an operation's products, for `explain`; "" for another dtype, and for ordinary float32.

    by   the instructions for products of bfloat16 parts in the precision in effect; None: there are none
    """
    setting = precision()
    if operation not in MULTIPLYING or np.dtype(dtype) != np.float32:
        return ""
    if by:
        return f"{_by(by)}, small ones in float32"
    if setting.tf32:
        return ", products in float32: CPUs have no TF32"
    if setting.products == 3:
        return ", products in float32: no tiles (AMX) on this CPU, level or cell"
    return f", products in float32: {_no_bfloat16(has_kernel)}" if setting.bfloat16 else ""


def _by(instructions: str) -> str:
    kinds = {3: "as three of bfloat16 parts", 1: "in bfloat16"}
    return f", products {kinds[precision().products]} by {instructions}"


def _in_bfloat16() -> str:
    """The instructions for products in bfloat16, and which layers compute without them; or why there are none."""
    by = cpu.kernels.products_by(1)
    if by and "amx" in by:
        return f"{by}, also in bfloat16x3 (layers with several heads: float32)"
    return by or _no_bfloat16()


def _level() -> str:
    compiled = ", ".join(cpu.kernels.compiled_levels())
    return f"{cpu.kernels.level()}, of the compiled {compiled}{_refused()}"


def _refused() -> str:
    """Why the level `amx` does not run though the CPU has it; "" if it runs, is not asked for, or is not there."""
    if os.environ.get("XRNN_ISA", "").strip().lower() not in ("", "amx"):
        return ""
    refusal = cpu.kernels.tile_refusal()
    return f" (amx: the system refused this process the tile registers: {refusal})" if refusal else ""


def bfloat16_obstacle() -> str | None:
    """Why the kernels compute products in float32 if bfloat16 is asked for; None if they do not."""
    return None if cpu.kernels and cpu.kernels.products_by(1) else _no_bfloat16()


def _no_bfloat16(has_kernel: bool = True) -> str:
    """Why products in bfloat16 are computed in float32.   has_kernel: False for a cell without a kernel"""
    if has_kernel and cpu.kernels and cpu.kernels.has_bfloat16_instruction() and cpu.kernels.level() == "avx512":
        return "avx512_bf16 is not faster on this CPU, or was not compiled (XRNN_ALL_LEVELS=1 compiles it)"
    return "no bfloat16 kernel for this CPU, level or cell"


def not_built() -> str:
    """Why there are no kernels, and the command that shows the error of the compiler."""
    if optional.in_checkout():
        return "the kernels were not built: `pip install -v -e .` says why"
    return "the kernels were not built: `XRNN_REQUIRE_KERNELS=1 pip install -v` of the sources says why"


def _threads() -> str:
    """The number of threads that a call may use, the reason, and whether they belong to another library."""
    if cpu.kernels.uses_openmp():
        return f"{_number_of_threads()}, of another library in this process"
    return _number_of_threads() + ("" if cpu.kernels.OPENMP else ", built without OpenMP: threadpoolctl sets no limit")


def _number_of_threads() -> str:
    threads = cpu.kernels.max_threads()
    asked = cpu.kernels.asked_threads()
    cap = cpu.kernels.thread_cap()
    if threads < asked:
        return f"{threads} ({asked} asked for, but by affinity and quota this process may use {_cpus(cap)})"
    if threads == 1:
        return "1 (no more are asked for)"
    why = "one per CPU" if threads == cap else f"as set; this process may use {_cpus(cap)}"
    now, could = cpu.kernels.thread_limit()
    if now < could:
        return f"{threads} ({why}; now {now} of {could}: more are slower, or other processes need the CPUs)"
    return f"{threads} ({why}; fewer if more are slower, or other processes need the CPUs)"


def _cpus(count: int) -> str:
    return f"{count} CPU{'s' if count > 1 else ''}"
