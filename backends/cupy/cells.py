"""The cells that have CUDA kernels: the C++ template of each, and the facts that the selection needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import LeakyRNNCell, RNNCell


@dataclass(frozen=True, slots=True)
class CellKernel:
    """A cell as the kernels know it."""

    name: str  # as in `xrnn info --cell`
    template: str  # in `header`, one of the CPU kernels' cell headers
    header: str
    pre: int  # blocks of z
    fed: int  # those that h @ Wh feeds, the last ones
    states: int
    keeps_z: bool
    cycles: int  # clock cycles of a step's elementwise part beyond the Elman cell's, estimated


_ELMAN: Final = {
    phi: CellKernel("rnn", f"{phi.title()}Elman", "elman.h", 1, 1, 1, False, 0) for phi in ("tanh", "relu")
}
_LEAKY: Final = {
    phi: CellKernel("leak", f"Leaky{phi.title()}Elman", "elman.h", 1, 1, 1, True, 20) for phi in ("tanh", "relu")
}
_LSTM: Final = CellKernel("lstm", "Lstm", "lstm.h", 4, 4, 2, True, 200)
_GRU: Final = CellKernel("gru", "Gru", "gru.h", 4, 3, 1, True, 150)
# One kernel for each name: relu takes the same resources as tanh.
NAMED: Final = {kernel.name: kernel for kernel in (_ELMAN["tanh"], _LEAKY["tanh"], _LSTM, _GRU)}


def kernel_of(cell: Cell) -> CellKernel | None:
    """The kernel for `cell`; None for a cell that has none, a subclass of a built-in cell included."""
    if type(cell) is RNNCell:
        return _ELMAN[cell.nonlinearity]
    if type(cell) is LeakyRNNCell:
        return _LEAKY[cell.elman.nonlinearity]
    return {LSTMCell: _LSTM, GRUCell: _GRU}.get(type(cell))
