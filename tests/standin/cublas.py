"""`cupy.cublas.gemm` with its refusals, and a count of the operands it had to copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.standin._array import ndarray
from tests.standin._device import launch
from tests.standin._memory import DeviceMemory
from tests.standin.counting import count


def gemm(transa: str, transb: str, a: Any, b: Any, out: Any = None, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """out = alpha · op(a) @ op(b) + beta · out, op(a) = a for "N", aᵀ for "T"."""
    given = [array for array in (a, b, out) if array is not None]
    for array in given:
        if not isinstance(array, DeviceMemory):
            raise TypeError(f"gemm takes device arrays, not {type(array)}")
    # CuPy asserts these as well.
    assert a.ndim == b.ndim == 2
    assert a.dtype == b.dtype
    if a.dtype.char not in "fd":
        raise TypeError("invalid dtype")
    op_a, op_b = _op(transa, a), _op(transb, b)
    (m, k), n = op_a.shape, op_b.shape[1]
    assert op_b.shape[0] == k
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
        product = a.dtype.type(alpha) * (op_a @ op_b)
        # With beta = 0 the old values are not read, so a NaN among them does not spread.
        out._host[...] = product + a.dtype.type(beta) * out._host if beta else product
    return out


def _op(trans: str, array: DeviceMemory) -> Any:
    if trans not in ("N", "T"):
        raise TypeError(f"invalid trans (actual: {trans!r})")
    return array._host if trans == "N" else array._host.T


def _contiguous(array: Any) -> bool:
    return bool(array.flags.c_contiguous or array.flags.f_contiguous)
