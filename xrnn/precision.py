"""The precision of matrix products of float32 arrays: float32, TF32, bfloat16x3 or bfloat16. The arrays keep
their dtype.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final, Literal, TypeAlias, get_args

from xrnn.setting import Setting, within

Name: TypeAlias = Literal["float32", "tf32", "bfloat16x3", "bfloat16"]
NAMES: Final[tuple[Name, ...]] = get_args(Name)
# The CPU kernels compute a product of two float32 numbers as a sum of this number of products of bfloat16 parts; with 0
# in float32.
_PRODUCTS: Final = {"bfloat16x3": 3, "bfloat16": 1}


class Precision(Setting):
    """Attributes in place of comparisons of strings, because each call of a layer reads one."""

    __slots__ = ("bfloat16", "decided_by", "name", "products", "tf32")

    def __init__(self, name: str, decided_by: str) -> None:
        super().__init__()
        self.change(name, decided_by)

    def change(self, name: str, decided_by: str) -> None:
        self.name, self.decided_by = name, decided_by
        self.bfloat16, self.tf32 = name == "bfloat16", name == "tf32"
        self.products = _PRODUCTS.get(name, 0)


_SETTING: Final = os.environ.get("XRNN_PRECISION", "").strip().lower()
_process: Final = Precision(_SETTING or "float32", f"XRNN_PRECISION={_SETTING}" if _SETTING else "the default")
_precision: ContextVar[Precision] = ContextVar("xrnn_precision", default=_process)

# The precision in effect, a `Precision`. As for `fused_forms`, a function around it would slow down small layers.
precision: Final = _precision.get


def is_chosen_in_block() -> bool:
    """Whether a block of `use_precision` decides the precision in effect."""
    return precision()._open() is not _process


def check(name: str, decided_by: str) -> None:
    """Raise ValueError if `name` is not a precision."""
    if name not in NAMES:
        raise ValueError(f"unknown precision {name!r} ({decided_by}): expected one of {', '.join(NAMES)}")


def check_environment() -> None:
    """Raise ValueError if XRNN_PRECISION is not a precision. Called by backends, so that commands can report it."""
    if _SETTING:
        check(_SETTING, f"XRNN_PRECISION={_SETTING}")


def set_precision(name: Name) -> None:
    """Select the precision of matrix products of float32 arrays, in all threads of the process.

    name   `float32`, the default; `tf32`, which a CPU treats as float32; `bfloat16x3`: three products of bfloat16
           parts, with errors near 1e-5, on a CPU with AMX, otherwise float32; `bfloat16`: the factors are rounded to
           bfloat16. The sums are always float32.

    Arrays keep their dtype. Products of float64 arrays do not change. If a processor or a form has no such product, the
    product stays in float32; `xrnn info` says so. `XRNN_PRECISION` sets the precision at the start of the process.
    Within a block of `use_precision`, the precision of the block stays in effect until its end.

    Raises ValueError for an unknown name; the precision is then unchanged.

    >>> set_precision("bfloat16")
    >>> set_precision("float32")
    """
    decided_by = f"set_precision({name!r})"
    check(name, decided_by)
    _process.change(name, decided_by)


@contextlib.contextmanager
def use_precision(name: Name) -> Iterator[None]:
    """Within the block, compute matrix products of float32 arrays in this precision; see `set_precision`.

    A thread that is started in the block does not inherit it (a ContextVar). When the block ends, its precision ends in
    every context. In a generator, a block around `yield` also holds in the caller until the generator continues: end
    the block before `yield`. Raises as `set_precision`.

    >>> rnn, x = RNN.init(3, 8, rng=0), np.zeros((20, 4, 3), "float32")
    >>> with use_precision("bfloat16"):
    ...     h = rnn(x)
    """
    decided_by = f"use_precision({name!r})"
    check(name, decided_by)
    with within(_precision, Precision(name, decided_by)):
        yield
