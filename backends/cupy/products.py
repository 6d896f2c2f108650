"""Matrix products by cuBLAS, in the precision in effect: float32, or factors in TF32 or bfloat16 with float32 sums.

CuPy has a switch for TF32 (`CUPY_TF32`), but it belongs to the process, and CuPy has none for bfloat16. So these
products call cuBLAS' `gemmEx` with the type of computation. The device must have compute capability 8.0 or higher.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any, Final

import numpy as np

from xrnn.backend import precision
from xrnn.typing import Array

_LEAST_CAPABILITY: Final = 80  # compute capability 8.0
_ZERO, _ONE = np.zeros(1, np.float32), np.ones(1, np.float32)  # cuBLAS reads its factors from host memory


def tf32_by_environment() -> str:
    """The variable that lets CuPy or CUDA's libraries use TF32 in float32 products, as `CUPY_TF32=1`; "" if none."""
    set_to = {name: os.environ.get(name, "") for name in ("NVIDIA_TF32_OVERRIDE", "CUPY_TF32")}
    if set_to["NVIDIA_TF32_OVERRIDE"] == "0":  # no TF32 at all
        return ""
    return next((f"{name}={value}" for name, value in set_to.items() if value not in ("", "0")), "")


class Cublas:
    """The products of one CuPy module. Those that `gemmEx` does not take are CuPy's own, in float32 or float64."""

    def __init__(self, cupy: ModuleType) -> None:
        module = importlib.import_module(f"{cupy.__name__}.cublas")
        self._xp: Any = cupy
        self._gemm, self._low, self._device = module.gemm, module.cublas, module.device
        self._capable: dict[int, bool] = {}  # by number of the device

    def dot(self, a: Array, b: Array, out: Array | None = None) -> Array:
        product = self._reduced(a, b, out)
        return a.dot(b, out) if product is None else product

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        product = self._reduced(a, b, out)
        return self._xp.matmul(a, b, out=out) if product is None else product

    def gemm(self, a: Array, b: Array, out: Array, beta: float) -> None:
        """out = a @ b + beta · out.   beta: 0 or 1. A matrix that is contiguous in neither order is copied."""
        if self._reduced(a, b, out, beta) is None:
            self._gemm("N", "N", a, b, out=out, alpha=1.0, beta=beta)

    def is_capable(self) -> bool:
        """Whether the current device computes in TF32 and bfloat16."""
        number = self._xp.cuda.runtime.getDevice()
        if number not in self._capable:
            self._capable[number] = int(self._xp.cuda.Device(number).compute_capability) >= _LEAST_CAPABILITY
        return self._capable[number]

    def _reduced(self, a: Array, b: Array, out: Array | None, beta: float = 0) -> Array | None:
        """out = a @ b + beta · out in TF32 or bfloat16. None if cuBLAS cannot, or float32 is selected."""
        setting = precision()
        if not ((setting.tf32 or setting.bfloat16) and self.is_capable()):
            return None
        if not (a.ndim == b.ndim == 2 and a.size and b.size and a.dtype == b.dtype == np.float32):
            return None
        if out is None:
            out = self._xp.empty((a.shape[0], b.shape[1]), np.float32)
        if out.dtype != np.float32 or not (out.flags.c_contiguous or out.flags.f_contiguous):
            return None
        self._gemm_ex(*((a, b, out) if out.flags.c_contiguous else (b.T, a.T, out.T)), beta)
        return out

    def _gemm_ex(self, a: Any, b: Any, out: Any, beta: float) -> None:
        """out = a @ b + beta · out.   a (M, K), b (K, P), out (M, P), C-contiguous.

        cuBLAS counts along columns first: what it sees of `out` is outᵀ (P, M) = bᵀ @ aᵀ.
        """
        M, K = a.shape
        P = b.shape[1]
        a, transa, lda = self._operand(a)
        b, transb, ldb = self._operand(b)
        low, real = self._low, self._xp.cuda.runtime.CUDA_R_32F
        compute = low.CUBLAS_COMPUTE_32F_FAST_16BF if precision().bfloat16 else low.CUBLAS_COMPUTE_32F_FAST_TF32
        alpha_at = _ONE.ctypes.data
        beta_at = (_ONE if beta else _ZERO).ctypes.data
        low.gemmEx(
            self._device.get_cublas_handle(), transb, transa, P, M, K, alpha_at, b.data.ptr, real, ldb,
            a.data.ptr, real, lda, beta_at, out.data.ptr, real, P, compute, low.CUBLAS_GEMM_DEFAULT
        )  # fmt: skip

    def _operand(self, array: Any) -> tuple[Any, int, int]:
        """→ the array, copied if cuBLAS can't read its strides; whether cuBLAS transposes it; its leading dimension."""
        rows, columns = array.shape
        row, column = (stride // array.itemsize for stride in array.strides)
        if column == 1 and row >= columns:  # C-contiguous, or some of the columns of such a matrix
            return array, self._low.CUBLAS_OP_N, row
        if row == 1 and column >= rows:  # the same for Fortran order
            return array, self._low.CUBLAS_OP_T, column
        return self._xp.ascontiguousarray(array), self._low.CUBLAS_OP_N, columns
