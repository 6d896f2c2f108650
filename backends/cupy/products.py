"""Matrix products by cuBLAS, in the precision in effect: float32, or factors in TF32 or bfloat16 with float32 sums.

CuPy has a switch for TF32 (`CUPY_TF32`), but it belongs to the process, and CuPy has none for bfloat16. So these
products call cuBLAS' `gemmEx` with the type of computation. The device must have compute capability 8.0 or higher.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Final

import numpy as np

from xrnn.backend import precision
from xrnn.typing import Array

_LEAST_CAPABILITY: Final = 80  # compute capability 8.0
_ZERO, _ONE = np.zeros(1, np.float32), np.ones(1, np.float32)  # cuBLAS reads its factors from host memory


class Cublas:
    """The products of one CuPy module. Those that `gemmEx` does not take are CuPy's own, in float32 or float64."""

    def __init__(self, cupy: ModuleType) -> None:
        module = importlib.import_module(f"{cupy.__name__}.cublas")
        self._xp: Any = cupy
        self._gemm, self._low, self._device = module.gemm, module.cublas, module.device
        self._capable: dict[int, bool] = {}  # by number of the device

    def dot(self, a: Array, b: Array, out: Array | None = None) -> Array:
        product = self._reduced(a, b, out, _ZERO)
        return a.dot(b, out) if product is None else product

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        product = self._reduced(a, b, out, _ZERO)
        return self._xp.matmul(a, b, out=out) if product is None else product

    def gemm(self, transa: str, transb: str, a: Array, b: Array, out: Array, alpha: float, beta: float) -> None:
        """out = alpha · op(a) @ op(b) + beta · out, op(a) = a for "N", aᵀ for "T", as `cupy.cublas.gemm`."""
        if self.is_reduced() and alpha == 1 and beta in (0, 1):
            op_a, op_b = a if transa == "N" else a.T, b if transb == "N" else b.T
            if self._reduced(op_a, op_b, out, _ONE if beta else _ZERO) is not None:
                return
        self._gemm(transa, transb, a, b, out=out, alpha=alpha, beta=beta)

    def is_reduced(self) -> bool:
        """Whether products of float32 arrays are computed in TF32 or bfloat16 on the current device."""
        setting = precision()
        return (setting.tf32 or setting.bfloat16) and self.is_capable()

    def is_capable(self) -> bool:
        """Whether the current device computes in TF32 and bfloat16."""
        number = self._xp.cuda.runtime.getDevice()
        if number not in self._capable:
            self._capable[number] = int(self._xp.cuda.Device(number).compute_capability) >= _LEAST_CAPABILITY
        return self._capable[number]

    def _reduced(self, a: Array, b: Array, out: Array | None, beta: Any) -> Array | None:
        """out = a @ b + beta · out in TF32 or bfloat16. None if cuBLAS cannot compute it so, or in float32."""
        if not (self.is_reduced() and a.ndim == b.ndim == 2 and a.size and b.size):
            return None
        if not (a.dtype == b.dtype == np.float32):
            return None
        if out is None:
            out = self._xp.empty((a.shape[0], b.shape[1]), np.float32)
        if out.dtype != np.float32:
            return None
        if out.flags.c_contiguous:
            self._gemm_ex(a, b, out, beta)
        elif out.flags.f_contiguous:
            self._gemm_ex(b.T, a.T, out.T, beta)
        else:
            return None
        return out

    def _gemm_ex(self, a: Any, b: Any, out: Any, beta: Any) -> None:
        """out = a @ b + beta · out.   a (M, K), b (K, P), out (M, P), C-contiguous.

        cuBLAS counts along columns first: what it sees of `out` is outᵀ (P, M) = bᵀ @ aᵀ.
        """
        low = self._low
        (M, K), P = a.shape, b.shape[1]
        a, transa, lda = self._operand(a)
        b, transb, ldb = self._operand(b)
        compute = low.CUBLAS_COMPUTE_32F_FAST_16BF if precision().bfloat16 else low.CUBLAS_COMPUTE_32F_FAST_TF32
        real = self._xp.cuda.runtime.CUDA_R_32F
        low.gemmEx(
            self._device.get_cublas_handle(), transb, transa, P, M, K, _ONE.ctypes.data, b.data.ptr, real, ldb,
            a.data.ptr, real, lda, beta.ctypes.data, out.data.ptr, real, P, compute, low.CUBLAS_GEMM_DEFAULT
        )  # fmt: skip

    def _operand(self, array: Any) -> tuple[Any, int, int]:
        """→ the array, copied if cuBLAS can't read its strides; whether cuBLAS transposes it; its leading dimension."""
        rows, columns = array.shape
        if array.flags.f_contiguous:
            return array, self._low.CUBLAS_OP_T, rows
        row, column = (stride // array.itemsize for stride in array.strides)
        if column == 1 and row >= columns:  # C-contiguous, or some of the columns of such a matrix
            return array, self._low.CUBLAS_OP_N, row
        if row == 1 and column >= rows:
            return array, self._low.CUBLAS_OP_T, column
        return self._xp.ascontiguousarray(array), self._low.CUBLAS_OP_N, columns
