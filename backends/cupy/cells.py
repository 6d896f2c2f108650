"""The cells that have CUDA kernels: the C++ template of each, and the facts that the selection needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xrnn.ops.cell import Cell


@dataclass(frozen=True, slots=True)
class CellKernel:
    """A cell as the kernels know it."""

    name: str  # as in `xrnn info --cell`
    template: str  # in `header`, one of the CPU kernels' cell headers
    header: str
    pre: int  # blocks of z
    fed: int  # those that h @ Wh feeds, the last ones
    states: int
    cycles: int  # clock cycles of a step's elementwise part beyond the Elman cell's, estimated


def _elman(leaky: bool, nonlinearity: str) -> CellKernel:
    template = f"{'Leaky' * leaky}{nonlinearity.title()}Elman"
    return CellKernel("leak" if leaky else "rnn", template, "elman.h", 1, 1, 1, 20 if leaky else 0)


# By the `kernel_name` of the cell.
KERNELS: Final = {
    "tanh": _elman(False, "tanh"),
    "leaky_tanh": _elman(True, "tanh"),
    "lstm": CellKernel("lstm", "Lstm", "lstm.h", 4, 4, 2, 200),
    "gru": CellKernel("gru", "Gru", "gru.h", 4, 3, 1, 150),
    "relu": _elman(False, "relu"),
    "leaky_relu": _elman(True, "relu"),
}
# One kernel for each name: relu takes the same resources as tanh.
NAMED: Final = {KERNELS[key].name: KERNELS[key] for key in ("tanh", "leaky_tanh", "lstm", "gru")}


def kernel_of(cell: Cell) -> CellKernel | None:
    """The kernel for `cell`; None for a cell that has none, a subclass of a built-in cell included."""
    return None if cell.kernel_name is None else KERNELS.get(cell.kernel_name)
