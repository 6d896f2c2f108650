"""The built-in cells, one file each, and their table."""

from __future__ import annotations

from typing import Final

from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import LeakyRNNCell, RNNCell

# By `Cell.name`.
CELLS: Final[dict[str, type[Cell]]] = {
    "rnn": RNNCell,
    "leaky_rnn": LeakyRNNCell,
    "lstm": LSTMCell,
    "gru": GRUCell,
    "gru_reset_before": GRUResetBeforeCell,
}
