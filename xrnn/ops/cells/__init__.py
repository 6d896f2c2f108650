"""The built-in cells, one file each, and their table. Backends read it to find the kernel of a cell."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple

from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import LeakyRNNCell, RNNCell


class Row(NamedTuple):
    cell: type[Cell]
    kernel: str | Callable[[Any], str] | None = None  # the kernels' name for the cell, or a function that gives it


# By `Cell.name`.
CELLS: Final[dict[str, Row]] = {
    "rnn": Row(RNNCell, attrgetter("nonlinearity")),
    "leaky_rnn": Row(LeakyRNNCell, lambda cell: f"leaky_{cell.nonlinearity}"),
    "lstm": Row(LSTMCell, "lstm"),
    "gru": Row(GRUCell, "gru"),
    "gru_reset_before": Row(GRUResetBeforeCell),
}


_KERNELS: Final = {row.cell: row.kernel for row in CELLS.values()}


def kernel_name(cell: Cell) -> str | None:
    """The kernels' name of a cell, or None. A subclass of a built-in cell has none: it may compute other values."""
    kernel = _KERNELS.get(type(cell))
    return kernel if kernel is None or type(kernel) is str else kernel(cell)  # type: ignore[operator]
