"""The NumPy backend: arrays on the CPU, with compiled kernels."""

from __future__ import annotations

import atexit
import ctypes
import logging
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from xrnn.backend import Backend, fused_forms, precision
from xrnn.backends.numpy.blas import explain_delays, share_threads
from xrnn.backends.numpy.int8 import pack
from xrnn.backends.numpy.quota import cpu_quota
from xrnn.ops.causal_convolution import ConvolutionGradients, ConvolutionInputs, ConvolutionOutputs
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import FrozenWeights, Inputs, Outputs, Trace
from xrnn.ops.matrix_memory import MemoryGradients, MemoryInputs, MemoryOutputs
from xrnn.ops.selective_scan import ScanGradients, ScanInputs, ScanOutputs
from xrnn.typing import Array, ArrayIfNeeded, HostArray

try:
    from xrnn.backends.numpy import _kernels as kernels
except ImportError:  # no compiler during the installation, or a checkout without an installation
    kernels = None  # type: ignore[assignment]


class NumpyBackend(Backend):
    """Arrays in host memory. A fused form runs a complete sequence in one compiled call.

    The kernels use OpenMP's number of threads (without OpenMP: OMP_NUM_THREADS, or one per CPU), but at most the number
    of CPUs in the affinity and the quota of the process. The quota is read when the backend is loaded. The kernels use
    fewer threads if more are slower, or if other processes need the CPUs.

    `XRNN_ISA` sets the instruction-set level: `baseline`, `avx2` or `avx512` on x86-64, elsewhere `baseline`. The
    default is the highest level of the CPU. It is read when the backend is loaded.
    """

    name = "numpy"
    info = "xrnn.backends.numpy.info"
    reads_are_free = True
    single_device = True
    dlpack_devices = (1, 3)  # kDLCPU, kDLCUDAHost

    def __init__(self) -> None:
        super().__init__(np)
        if kernels:
            kernels.set_level(os.environ.get("XRNN_ISA", "").strip().lower() or kernels.levels()[-1])
            kernels.set_quota(cpu_quota())
            kernels.set_on_delays(explain_delays)
        match os.environ.get("XRNN_SHARE_THREADS", "").strip() or "0":
            case "1":  # a program that sets it runs with every BLAS
                try:
                    self.share_threads(True)
                except RuntimeError as error:
                    logging.getLogger("xrnn").warning(f"XRNN_SHARE_THREADS=1 has no effect: {error}")
            case "0":
                pass
            case other:
                raise ValueError(f"XRNN_SHARE_THREADS is {other!r}: expected 0, or 1 for NumPy's products too; set one")

    def share_threads(self, shared: bool) -> None:
        """See `xrnn.share_threads`."""
        share_threads(shared)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Zeros at a multiple of 64 bytes: a vector takes longer to load if it lies in two lines of the cache."""
        memory = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + 63, np.uint8)
        return np.ndarray(shape, dtype, memory, -memory.ctypes.data % 64)

    def recurrence_forward(self, cell: Cell, inputs: Inputs, training: bool) -> Outputs:
        name = kernel_of(cell)
        if not name:
            return super().recurrence_forward(cell, inputs, training)
        lengths = _lengths_of(inputs)
        frozen: Any = inputs.frozen
        if frozen is None:
            packed = None
            own = cell.coefficients(np, inputs.own)
        else:
            if frozen.made is None:  # the first call
                frozen.made = kernels.PackedForms(frozen.Wx, frozen.Wh), cell.coefficients(np, inputs.own)
            packed, own = frozen.made
        return kernels.forward(
            name, inputs.x, inputs.Wx, inputs.Wh, inputs.b, inputs.initial, inputs.add, lengths, inputs.reverse, own,
            training, precision().products, packed,
        )  # fmt: skip

    def recurrence_backward(
        self,
        cell: Cell,
        trace: Trace,
        dstates: Sequence[Array | None],
        grads: Sequence[Array] | None,
        needs_dx: bool = True,
        dadd: Array | None = None,
    ) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
        name = kernel_of(cell)
        if not name:
            return super().recurrence_backward(cell, trace, dstates, grads, needs_dx, dadd)
        inputs = trace.inputs
        dWx, dWh, db, *dparams = grads or (None, None, None)
        x = inputs.x
        Wx = inputs.Wx
        Wh = inputs.Wh
        lengths = _lengths_of(inputs)
        reverse = inputs.reverse
        own = cell.coefficients(np, inputs.own)
        result = kernels.backward(
            name, x, Wx, Wh, trace.states, trace.z, lengths, reverse, own, dstates, dWx, dWh, db, dparams or None,
            dadd, needs_dx, precision().products,
        )  # fmt: skip
        if dparams:
            cell.params_gradient(np, inputs.own, own, dparams)
        return result

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

    def int8_forward(self, cell: Cell, inputs: Inputs) -> Outputs:
        name = kernel_of(cell)
        if not name or cell.components > 1:
            return super().int8_forward(cell, inputs)
        inputs.check()
        x = inputs.x
        frozen = inputs.frozen or FrozenWeights(inputs.Wx, inputs.Wh)
        if frozen.made is None:
            frozen.made = [[*map(self.parameter, pack(W, len(frozen.Wh)))] for W in (frozen.Wx, frozen.Wh)]
        Wx, Wh = frozen.made
        add = inputs.add
        slots = None
        if x.ndim == 2:
            x = x[None]
            add = None if add is None else add[None]
        if inputs.reverse or inputs.lengths is not None:
            x, add, slots = _from_first_steps(x, add, inputs.lengths, inputs.reverse)
        own = cell.coefficients(np, inputs.own)
        states = kernels.int8_forward(name, x, Wx, Wh, inputs.b, inputs.initial, add, own)
        if slots is not None:
            states = tuple(np.take_along_axis(state, slots, axis=0) for state in states)
        return states, None, None

    def selective_scan_forward(self, inputs: ScanInputs, training: bool) -> ScanOutputs:
        if not _has_scan_kernel(inputs):
            return super().selective_scan_forward(inputs, training)
        return ScanOutputs(*kernels.selective_scan(*_scan_operands(inputs, training)))

    def selective_scan_backward(
        self, inputs: ScanInputs, saved: Array, dy: Array | None, dlast: Array | None = None
    ) -> ScanGradients:
        if not _has_scan_kernel(inputs):
            return super().selective_scan_backward(inputs, saved, dy, dlast)
        du, ddelta, dA, dB, dC, *others = kernels.selective_scan_gradients(*_scan_operands(inputs, saved, dy, dlast))
        return ScanGradients(du, ddelta, dA, dB.reshape(inputs.B.shape), dC.reshape(inputs.C.shape), *others)

    def matrix_memory_forward(self, inputs: MemoryInputs, training: bool) -> MemoryOutputs:
        if not _has_memory_kernel(inputs):
            return super().matrix_memory_forward(inputs, training)
        inputs.check()
        return MemoryOutputs(*kernels.matrix_memory(*_memory_operands(inputs, training)))

    def matrix_memory_backward(
        self, inputs: MemoryInputs, saved: Array, dy: Array | None, dlast: Array | None = None
    ) -> MemoryGradients:
        if not _has_memory_kernel(inputs):
            return super().matrix_memory_backward(inputs, saved, dy, dlast)
        inputs.check_backward(saved, dy, dlast)
        return MemoryGradients(*kernels.matrix_memory_gradients(*_memory_operands(inputs, saved, dy, dlast)))

    def causal_convolution_forward(self, inputs: ConvolutionInputs) -> ConvolutionOutputs:
        if not (kernels and fused_forms().enabled and inputs.x.size):
            return super().causal_convolution_forward(inputs)
        return ConvolutionOutputs(*kernels.causal_convolution(*_convolution_operands(inputs)))

    def causal_convolution_backward(
        self, inputs: ConvolutionInputs, dy: Array | None, dlast: Array | None = None
    ) -> ConvolutionGradients:
        if not (kernels and fused_forms().enabled and inputs.x.size):
            return super().causal_convolution_backward(inputs, dy, dlast)
        return ConvolutionGradients(*kernels.causal_convolution_gradients(*_convolution_operands(inputs, dy, dlast)))

    def address(self, array: Array) -> int:
        return array.ctypes.data

    def outline(self, array: Array) -> HostArray:
        return array


def _lengths_of(inputs: Inputs) -> Array | None:
    """The lengths as the kernels take them; None if all rows have T steps, because the kernels are then faster."""
    lengths = inputs.lengths
    if lengths is None or bool((lengths >= len(inputs.x)).all()):
        return None
    return lengths.astype(np.int64, copy=False)


def _from_first_steps(
    x: Array, add: Array | None, lengths: Array | None, reverse: bool
) -> tuple[Array, Array | None, Array]:
    """Operands for a kernel that runs all rows from the first step to the last, without lengths and direction.

    → x and add in the order of each row's run, and for each slot of a state, (T + 1, N, 1), the slot of the kernel's
    result.
    """
    T, N, _ = x.shape
    ends = np.full(N, T) if lengths is None else lengths
    slots = np.arange(T + 1)[:, None]
    if not reverse:
        return x, add, np.minimum(slots, ends)[..., None]
    steps = np.maximum(ends - 1 - slots[:T], 0)[..., None]
    x = np.take_along_axis(x, steps, axis=0)
    add = None if add is None else np.take_along_axis(add, steps, axis=0)
    return x, add, np.maximum(ends - slots, 0)[..., None]


def _has_scan_kernel(inputs: ScanInputs) -> bool:
    """Whether the kernel computes this scan: B and C are for each step, with the same groups, and no size is 0."""
    return bool(
        kernels
        and fused_forms().enabled
        and inputs.u.size
        and inputs.A.size
        and inputs.B.ndim > 2
        and inputs.B.shape == inputs.C.shape
    )


def _scan_operands(inputs: ScanInputs, *others: Any) -> Any:
    B = inputs.B
    C = inputs.C
    groups = 1
    if B.ndim == 4:
        T, N, groups, K = B.shape
        B, C = B.reshape(T, N, groups * K), C.reshape(T, N, groups * K)
    return (
        inputs.u, inputs.delta, inputs.A, B, C, groups, inputs.skip, inputs.z, inputs.bias, inputs.softplus,
        inputs.initial, _as_int64(inputs.lengths), *others,
    )  # fmt: skip


def _has_memory_kernel(inputs: MemoryInputs) -> bool:
    """Whether the kernels are there and in use, and no size is 0."""
    return bool(kernels and fused_forms().enabled and inputs.v.size and inputs.k.size)


def _memory_operands(inputs: MemoryInputs, *others: Any) -> Any:
    lengths = _as_int64(inputs.lengths)
    return inputs.q, inputs.k, inputs.v, inputs.log_decay, inputs.initial, lengths, *others


def _convolution_operands(inputs: ConvolutionInputs, *others: Any) -> Any:
    return inputs.x, inputs.weight, inputs.bias, inputs.silu, inputs.initial, _as_int64(inputs.lengths), *others


def _as_int64(lengths: Array | None) -> Array | None:
    return None if lengths is None else lengths.astype(np.int64, copy=False)


def kernel_of(cell: Cell) -> str | None:
    """The name of a cell's kernel; None if it has none, or if the kernels are switched off or were not built."""
    return cell.kernel_name if kernels and fused_forms().enabled else None


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
    # Daemon threads may compute until the process has ended, later than the library's destructors run.
    atexit.register(kernels.use_openmp, None)


def load() -> NumpyBackend:
    return NumpyBackend()
