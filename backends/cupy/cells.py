"""The cells that have CUDA kernels: the C++ template of each, and the facts that the selection needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell
from xrnn.ops.cells.lru import LRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.minimal import MinGRUCell, MinLSTMCell
from xrnn.ops.cells.rnn import Nonlinearity, RNNCell, TrainedLeakCurrentRNNCell, TrainedLeakRNNCell
from xrnn.ops.cells.slstm import SLSTMCell


@dataclass(frozen=True, slots=True)
class CellKernel:
    """A cell as the kernels know it."""

    name: str  # as in `xrnn info --cell`
    template: str  # in `header`, one of the CPU kernels' cell headers
    header: str
    cell: Cell  # for the self-test: a cell that the kernel computes, with own parameters if the kernel has any
    cycles: int  # clock cycles of a step's elementwise part beyond the Elman cell's, estimated

    @property
    def pre(self) -> int:
        """Blocks of z."""
        return self.cell.pre

    @property
    def fed(self) -> int:
        """The number of blocks that h @ Wh feeds: the last ones. 0: the scan form runs the cell."""
        return len(self.cell.from_h)

    @property
    def states(self) -> int:
        return len(self.cell.states)

    @property
    def components(self) -> int:
        """The numbers that h has for a unit: 2 if it is complex."""
        return self.cell.components


def _elman(leaky: bool, nonlinearity: Nonlinearity) -> CellKernel:
    template = f"{'Leaky' if leaky else ''}{nonlinearity.title()}Elman"
    cell = TrainedLeakRNNCell(nonlinearity) if leaky else RNNCell(nonlinearity)
    return CellKernel("leak" if leaky else "rnn", template, "elman.h", cell, 20 if leaky else 0)


def _current(nonlinearity: Nonlinearity) -> CellKernel:
    cell = TrainedLeakCurrentRNNCell(nonlinearity)
    return CellKernel("current-rnn", f"Current{nonlinearity.title()}Elman", "elman.h", cell, 20)


# By the `kernel_name` of the cell.
KERNELS: Final = {
    "relu": _elman(False, "relu"),
    "softplus": _elman(False, "softplus"),
    "tanh": _elman(False, "tanh"),
    "leaky_relu": _elman(True, "relu"),
    "leaky_softplus": _elman(True, "softplus"),
    "leaky_tanh": _elman(True, "tanh"),
    "current_relu": _current("relu"),
    "current_softplus": _current("softplus"),
    "current_tanh": _current("tanh"),
    "lstm": CellKernel("lstm", "Lstm", "lstm.h", LSTMCell(), 200),
    "gru": CellKernel("gru", "Gru", "gru.h", GRUCell(), 150),
    "min_gru_positive": CellKernel("min-gru", "MinGruPositive", "min_gru.h", MinGRUCell("positive"), 0),
    "min_gru": CellKernel("min-gru", "MinGru", "min_gru.h", MinGRUCell(), 0),
    "min_lstm_positive": CellKernel("min-lstm", "MinLstmPositive", "min_lstm.h", MinLSTMCell("positive"), 100),
    "min_lstm": CellKernel("min-lstm", "MinLstm", "min_lstm.h", MinLSTMCell(), 100),
    "slstm_sigmoid": CellKernel("slstm", "SlstmSigmoid", "slstm.h", SLSTMCell("sigmoid"), 250),
    "slstm": CellKernel("slstm", "Slstm", "slstm.h", SLSTMCell(), 250),
    "lru": CellKernel("lru", "Lru", "lru.h", LRUCell(), 0),
}
# One kernel for each name, the last: the others take the same resources.
NAMED: Final = {kernel.name: kernel for kernel in KERNELS.values()}


def kernel_of(cell: Cell) -> CellKernel | None:
    """The kernel for `cell`; None for a cell that has none, a subclass of a built-in cell included."""
    return KERNELS.get(cell.kernel_name or "")
