"""The table of the built-in recurrent layers. The command line, files, and the conversion of PyTorch's modules read it.

`xrnn.ops.cells.CELLS` is the table of their cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from xrnn.layers.gru import GRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.recurrent import shapes_of
from xrnn.layers.rnn import RNN
from xrnn.ops import cells
from xrnn.ops.cell import Cell


class Row(NamedTuple):
    layer: Any  # the class of the layer
    # `mode` of PyTorch's module with the same equation, and the options of the layer; empty if PyTorch has none.
    torch: Mapping[str, dict[str, Any]]


# By the name of the cell.
CELLS: Final[dict[str, Row]] = {
    "rnn": Row(RNN, {"RNN_TANH": {"nonlinearity": "tanh"}, "RNN_RELU": {"nonlinearity": "relu"}}),
    "lstm": Row(LSTM, {"LSTM": {}}),
    "gru": Row(GRU, {"GRU": {}}),
}


def cell_of(name: str, **options: Any) -> Cell:
    """A cell of the table."""
    return cells.CELLS[name](**options)


def shapes(name: str, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a layer, by name, in the order of its constructor."""
    return shapes_of(cell_of(name), input_size, hidden_size)
