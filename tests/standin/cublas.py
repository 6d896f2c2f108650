"""`cupy.cublas.gemm` with its refusals, and a count of the operands it had to copy; cuBLAS' `gemmEx`."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.standin._array import ndarray
from tests.standin._device import Device, current_device, launch
from tests.standin._memory import DeviceMemory
from tests.standin.counting import count


def gemm(transa: str, transb: str, a: Any, b: Any, out: Any = None, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """out = alpha · a @ b + beta · out. Of the transposes that cuBLAS offers, nothing here asks for one."""
    given = [array for array in (a, b, out) if array is not None]
    for array in given:
        if not isinstance(array, DeviceMemory):
            raise TypeError(f"gemm takes device arrays, not {type(array)}")
    # CuPy asserts these as well.
    assert a.ndim == b.ndim == 2
    assert a.dtype == b.dtype
    if a.dtype.char not in "fd":
        raise TypeError("invalid dtype")
    if transa != "N" or transb != "N":
        raise TypeError(f"invalid trans (actual: {transa!r}, {transb!r})")
    (m, k), n = a.shape, b.shape[1]
    assert b.shape[0] == k
    if out is None:
        out, beta = ndarray((m, n), a.dtype, order="F"), 0.0
    assert out.shape == (m, n)
    assert out.dtype == a.dtype
    if not (m and n and k):
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE")  # a leading dimension of zero
    # cuBLAS reads operands while it writes the result.
    assert not any(np.shares_memory(out._host, operand._host) for operand in (a, b)), "out overlaps an operand"

    copies = [array for array in (a, b) if not _contiguous(array)]
    if copies or not _contiguous(out):
        copies += [out] if not out.flags.f_contiguous else []
    for _ in copies:
        count("operand_copies")
    launch("gemms", *(array.device for array in (a, b, out)))
    with np.errstate(all="ignore"):
        product = a.dtype.type(alpha) * (a._host @ b._host)
        # With beta = 0 the old values are not read, so a NaN among them does not spread.
        out._host[...] = product + a.dtype.type(beta) * out._host if beta else product
    return out


def _contiguous(array: Any) -> bool:
    return bool(array.flags.c_contiguous or array.flags.f_contiguous)


# ---- cuBLAS itself, which takes addresses ----

# The significand's bits of each type of computation.
_BITS = {75: 8, 77: 11}


def _gemm_ex(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int,
    B: int, Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, computeType: int, algo: int
) -> None:  # fmt: skip
    """C = alpha · op(A) @ op(B) + beta · C, float32 in Fortran order, with operands rounded as `computeType` says."""
    assert Atype == Btype == Ctype == 0
    assert ldc >= m
    assert handle == current_device().id + 1
    launch("gemms", Device(handle - 1))
    factors = [np.frombuffer(ctypes.string_at(address, 4), np.float32)[0] for address in (alpha, beta)]
    a, b = _columns(A, lda, m, k, transa), _columns(B, ldb, k, n, transb)
    c = _columns(C, ldc, m, n, 0)
    with np.errstate(all="ignore"):
        product = factors[0] * (_round(a, _BITS[computeType]) @ _round(b, _BITS[computeType]))
        c[...] = product + factors[1] * c if factors[1] else product


def _columns(address: int, leading: int, rows: int, columns: int, transposed: int) -> Any:
    """The (rows, columns) matrix at this address, in Fortran order with this leading dimension, or its transpose."""
    height, width = (columns, rows) if transposed else (rows, columns)
    assert leading >= height
    length = leading * (width - 1) + height
    flat = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (length,))
    matrix = np.lib.stride_tricks.as_strided(flat, (height, width), (4, 4 * leading))
    return matrix.T if transposed else matrix


def _round(a: Any, bits: int) -> Any:
    """float32 with a significand of `bits` bits, ties to even."""
    fraction, exponent = np.frexp(a)
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits).astype(np.float32)


cublas = SimpleNamespace(
    gemmEx=_gemm_ex,
    CUBLAS_OP_N=0,
    CUBLAS_OP_T=1,
    CUBLAS_GEMM_DEFAULT=-1,
    CUBLAS_COMPUTE_32F_FAST_16BF=75,
    CUBLAS_COMPUTE_32F_FAST_TF32=77,
)
device = SimpleNamespace(get_cublas_handle=lambda: current_device().id + 1)
