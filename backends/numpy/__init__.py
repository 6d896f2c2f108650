"""The NumPy backend: arrays on the CPU, with compiled kernels."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xrnn import optional
from xrnn.backend import MULTIPLYING, RECURRENCES, Backend, Explanation, Operation, fused_forms, precision
from xrnn.backends.numpy import machine
from xrnn.backends.numpy.int8 import pack
from xrnn.backends.numpy.quota import cpu_quota
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import Inputs, Outputs, Trace
from xrnn.ops.int8 import Int8Weights
from xrnn.typing import Array, ArrayIfNeeded, HostArray

try:
    from xrnn.backends.numpy import _kernels as kernels
except ImportError:  # no compiler during the installation, or a checkout without an installation
    kernels = None  # type: ignore[assignment]


class NumpyBackend(Backend):
    """Arrays in host memory. A fused form runs a complete sequence in one compiled call.

    The kernels use OpenMP's number of threads, but at most the number of CPUs in the affinity and the quota of the
    process. The quota is read when the backend is loaded. While other programs use the CPUs, the kernels use fewer
    threads if more threads gain little.

    `XRNN_ISA` sets the instruction-set level: `baseline`, `avx2` or `avx512` on x86-64, elsewhere `baseline`. The
    default is the highest level of the CPU. It is read when the backend is loaded.
    """

    name = "numpy"
    reads_are_free = True
    single_device = True
    dlpack_devices = (1, 3)  # kDLCPU, kDLCUDAHost

    def __init__(self) -> None:
        super().__init__(np)
        if kernels:
            kernels.set_level(os.environ.get("XRNN_ISA", "").strip().lower() or kernels.levels()[-1])
            kernels.set_quota(cpu_quota())

    def recurrence_forward(self, cell: Cell, inputs: Inputs, training: bool) -> Outputs:
        name = kernel_of(cell)
        if not name:
            return super().recurrence_forward(cell, inputs, training)
        x, lengths, reverse = inputs.x, inputs.lengths, inputs.reverse
        if lengths is not None:
            lengths = lengths.astype(np.int64, copy=False)
        return kernels.forward(
            name, x, inputs.Wx, inputs.Wh, inputs.b, inputs.initial, lengths, reverse, cell.per_unit, training,
            precision().products, inputs.packed,
        )  # fmt: skip

    def recurrence_backward(
        self,
        cell: Cell,
        trace: Trace,
        dstates: Sequence[Array | None],
        grads: Sequence[Array] | None,
        needs_dx: bool = True,
    ) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
        name = kernel_of(cell)
        if not name:
            return super().recurrence_backward(cell, trace, dstates, grads, needs_dx)
        inputs, (dWx, dWh, db) = trace.inputs, grads or (None, None, None)
        x, Wx, Wh, lengths, reverse = inputs.x, inputs.Wx, inputs.Wh, inputs.lengths, inputs.reverse
        if lengths is not None:
            lengths = lengths.astype(np.int64, copy=False)
        return kernels.backward(
            name, x, Wx, Wh, trace.states, trace.z, lengths, reverse, cell.per_unit, dstates, dWx, dWh, db, needs_dx,
            precision().products,
        )  # fmt: skip

    def affine_forward(self, x: Array, W: Array, b: Array) -> Array:
        if not (kernels and fused_forms().enabled):
            return super().affine_forward(x, W, b)
        return kernels.affine(x, W, b, precision().products)

    def affine_backward(
        self, x: Array, W: Array, dy: Array, dW: Array, db: Array, needs_dx: bool = True
    ) -> ArrayIfNeeded:
        if not (kernels and fused_forms().enabled):
            return super().affine_backward(x, W, dy, dW, db, needs_dx)
        return kernels.affine_gradients(x, W, dy, dW, db, needs_dx, precision().products)

    def cross_entropy(self, logits: Array, targets: Array, weight: Array) -> tuple[Array, Array]:
        if not (kernels and fused_forms().enabled):
            return super().cross_entropy(logits, targets, weight)
        losses, dlogits = kernels.cross_entropy(logits, targets.astype(np.int64, copy=False), weight)
        return np.asarray(losses.sum()), dlogits

    def add_rows(self, rows: Array, index: Array, out: Array) -> None:
        """out[v] = Σ rows[i] over all i with index[i] = v: sorts once, then sums each run of equal indices."""
        if not fused_forms().enabled:
            return super().add_rows(rows, index, out)
        order = np.argsort(index, kind="stable")
        ordered = index[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        out[...] = 0
        if len(starts):
            out[ordered[starts]] = np.add.reduceat(rows[order], starts, axis=0)
        return None

    def int8_forward(
        self, cell: Cell, weights: Int8Weights, x: Array, initial: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        name = kernel_of(cell)
        if not name:
            return super().int8_forward(cell, weights, x, initial)
        if weights.packed is None:
            H = len(weights.Wh.values)
            weights.packed = pack(weights.Wx, H), pack(weights.Wh, H)
        Wx, Wh = weights.packed
        return kernels.int8_forward(name, x, Wx, Wh, weights.b, initial, cell.per_unit)

    def explain(self, operation: Operation, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> Explanation:
        plain = super().explain(operation, cell, shapes, dtype)
        if operation == "matmul_add" or not fused_forms().enabled:
            return plain
        if operation == "add_rows":
            return Explanation("sorted", "the indices are sorted once, then each run of equal ones is summed")
        if not kernels:
            return Explanation("plain", not_built() + _products(operation, dtype, None))
        if operation in (*RECURRENCES, "int8_forward") and not kernel_of(cell):
            why = f"there is no kernel for the cell {cell.name!r}"
            return Explanation("plain", why + _products(operation, dtype, None))
        if operation == "int8_forward":
            return Explanation("fused", kernels.int8_instructions())
        why, level = kernels.level(), kernels.bfloat16_level()
        products = _products(operation, dtype, level)
        if operation in RECURRENCES:
            T, N, D, H = (shapes[letter] for letter in "TNDH")
            itemsize = np.dtype(dtype).itemsize
            columns = len(cell.from_h) * H
            if level and itemsize == 4 and precision().bfloat16:
                in_bfloat16 = kernels.repays_bfloat16(T, N, D + H, columns)
                itemsize = 2 if in_bfloat16 else 4
                products = f", products in bfloat16 by {level}" if in_bfloat16 else ", products in float32: too small"
            Wx, most = (D, len(cell.from_x) * H), kernels.max_threads()
            threads, split, project_first = kernels.partition(T, N, D + H, columns, itemsize, most, Wx)
            why += f", {threads} threads by {split}" if threads > 1 else ", one thread"
            if project_first and operation == "recurrence_forward":
                why += ", x @ Wx first"
        return Explanation("fused", why + products)

    def address(self, array: Array) -> int:
        return array.ctypes.data

    def outline(self, array: Array) -> HostArray:
        return array

    def frozen(self, array: Array) -> Array:
        """A copy in the memory of a `bytes` object: NumPy never makes such an array writable."""
        order: Any = "F" if array.flags.fnc else "C"
        return np.frombuffer(array.tobytes(order), array.dtype).reshape(array.shape, order=order)

    def packed_weights(self, Wx: Array, Wh: Array) -> Any:
        return kernels.PackedForms(Wx, Wh) if kernels else None

    def describe(self) -> dict[str, str]:
        if not kernels:
            return {**machine.describe(), "compiled kernels": not_built()}
        return {
            **machine.describe(),
            "compiled kernels": kernels.compiler(),
            "instruction set": kernels.level(),
            "products in bfloat16": kernels.bfloat16_level() or _no_bfloat16(),
            "threads": _threads(),
        }


def kernel_of(cell: Cell) -> str | None:
    """The name of a cell's kernel; None if it has none, or if the kernels are switched off or were not built."""
    return cell.kernel_name if kernels and fused_forms().enabled else None


def _products(operation: Operation, dtype: Any, level: str | None) -> str:
    """The precision of an operation's products, for `explain`; "" if float32 is selected, or for another dtype.

    level   of the kernels that compute in bfloat16
    """
    setting = precision()
    if operation not in MULTIPLYING or np.dtype(dtype) != np.float32 or setting.name == "float32":
        return ""
    if setting.tf32:
        return ", products in float32: CPUs have no TF32"
    if not setting.bfloat16:
        return ", products in float32: this CPU has no tiles (AMX)"
    if level:
        return f", products in bfloat16 by {level}, small ones in float32"
    return f", products in float32: {_no_bfloat16()}"


def _no_bfloat16() -> str:
    """Why products in bfloat16 are computed in float32."""
    if kernels and kernels.has_bfloat16_instruction() and kernels.level() == "avx512":
        return "avx512_bf16 is not faster on this CPU"
    return "no bfloat16 kernel for this CPU, level or cell"


def not_built() -> str:
    """Why there are no kernels, and the command that shows the error of the compiler."""
    if optional.in_checkout():
        return "the kernels were not built: `pip install -v -e .` says why"
    return "the kernels were not built: `XRNN_REQUIRE_KERNELS=1 pip install -v` of the sources says why"


def use_threads_of(library: ctypes.CDLL) -> None:
    """Run the kernels on the threads of an OpenMP library from now on. This applies to the process.

    Separate threads would compete for the CPUs: the library's threads and the kernels' own threads both poll for work
    for some time after each operation.

    library   libgomp, or LLVM's or Intel's OpenMP, or a library that is linked to one of them

    Raises AttributeError if the library has no OpenMP functions; the kernels then keep their own threads.
    """

    def address(name: str) -> int:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0

    kernels.use_openmp((address("GOMP_parallel"), address("omp_get_max_threads"), address("omp_get_num_threads")))


def _threads() -> str:
    """The number of threads that a call may use, the reason, and whether they belong to another library."""
    return _number_of_threads() + (", of another library in this process" if kernels.uses_openmp() else "")


def _number_of_threads() -> str:
    threads, asked, cap = kernels.max_threads(), kernels.asked_threads(), kernels.thread_cap()
    if threads < asked:
        return f"{threads} ({asked} asked for, but by affinity and quota this process may use {_cpus(cap)})"
    if threads == 1:
        return "1 (no more are asked for)"
    why = "one per CPU" if threads == cap else f"as set; this process may use {_cpus(cap)}"
    now, could = kernels.thread_limit()
    if now < could:
        return f"{threads} ({why}; now {now} of {could}: more gain little while other processes use the CPUs)"
    return f"{threads} ({why}; fewer if more gain little, while other processes use the CPUs)"


def _cpus(count: int) -> str:
    return f"{count} CPU{'s' * (count > 1)}"


def load() -> NumpyBackend:
    return NumpyBackend()
