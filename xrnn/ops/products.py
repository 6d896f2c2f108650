"""The matrix products of the plain forms, and products of operands that are rounded to bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from xrnn.typing import Array

MatmulAdd: TypeAlias = Callable[[Array, Array, Array], None]  # (a, b, out): out += a @ b


@dataclass(frozen=True, slots=True)
class Products:
    """Three ways to multiply two matrices; a vector may take the place of a matrix.

    dot          (a, b, out=None) → a @ b; the fastest for contiguous operands, copies others
    matmul       (a, b, out=None) → a @ b; for operands of any strides
    matmul_add   (a, b, out): out += a @ b
    """

    dot: Callable[..., Any]
    matmul: Callable[..., Any]
    matmul_add: MatmulAdd


def in_bfloat16(xp: Any, exact: Products) -> Products:
    """`exact`, with float32 operands rounded to bfloat16. The sums stay in float32, products of float64 do not change.

    This is the plain form of the products that processors compute from bfloat16. They sum in another order.
    """

    def rounded(product: Callable[..., Any]) -> Callable[..., Any]:
        return lambda a, b, *out, **keywords: product(round_operand(xp, a), round_operand(xp, b), *out, **keywords)

    return Products(rounded(exact.dot), rounded(exact.matmul), rounded(exact.matmul_add))


def round_operand(xp: Any, a: Array) -> Array:
    """A float32 array rounded to bfloat16, still as float32; an array of another dtype unchanged."""
    return round_to_bfloat16(xp, a) if a.dtype == np.float32 else a


def round_to_bfloat16(xp: Any, a: Array) -> Array:
    """The nearest bfloat16, ties to even, as float32.   a float32

    bfloat16 is the upper half of a float32: 8 bits of exponent, and a significand of 8 bits. NaN and infinity stay.
    Denormals become zero with the same sign, as in the processors' instructions. Numbers from 3.396e38 on (within half
    a unit of 2¹²⁸) become infinite.
    """
    bits = xp.ascontiguousarray(a).view("uint32")
    last_kept = (bits >> np.uint32(16)) & np.uint32(1)
    # Adding just under half of the last kept bit, plus that bit itself, carries exactly if the number rounds up.
    nearest = (bits + (last_kept + np.uint32(0x7FFF))) & np.uint32(0xFFFF0000)
    is_denormal = (bits & np.uint32(0x7F800000)) == 0
    nearest = xp.where(is_denormal, bits & np.uint32(0x80000000), nearest)
    return xp.where(xp.isnan(a), a, nearest.view("float32"))
