"""The recurrent layers that `--cell` names."""

from __future__ import annotations

from typing import Any, Final

from xrnn.layers.gru import GRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.rnn import RNN
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import RNNCell

LAYERS: Final[dict[str, Any]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
CELLS: Final[dict[str, Cell]] = {"rnn": RNNCell(), "lstm": LSTMCell(), "gru": GRUCell()}


def shapes(cell: str, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of one layer, known before there is one."""
    of_cell, D, H = CELLS[cell], input_size, hidden_size
    return {"Wx": (D, len(of_cell.from_x) * H), "Wh": (H, len(of_cell.from_h) * H), "b": (of_cell.pre * H,)}
