"""ONNX's operators RNN, LSTM and GRU: their attributes, and their weights in ONNX's layout and in xrnn's.

ONNX has W (G·H, D), R (G·H, H) and B = [Wb, Rb] (2·G·H,) for each direction, with the gates in the order i o f c and
z r h. xrnn has i f g o and r u n, the transposed matrices, and one bias for each pre-activation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.exchange.torch_weights import merged_bias
from xrnn.layers.gru import GRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.rnn import RNN
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import RNNCell
from xrnn.ops.heads import dense
from xrnn.typing import HostArray


class Operator(NamedTuple):
    layer: Any
    gates: tuple[int, ...]  # for each gate of ONNX, the index of the same gate in xrnn
    activations: tuple[str, ...]  # ONNX's default for one direction


OPERATORS: Final = {
    "RNN": Operator(RNN, (0,), ("Tanh",)),
    "LSTM": Operator(LSTM, (0, 3, 1, 2), ("Sigmoid", "Tanh", "Tanh")),
    "GRU": Operator(GRU, (1, 0, 2), ("Sigmoid", "Tanh")),
}


class OfCell(NamedTuple):
    """The operator for a cell."""

    operator: str
    attributes: Callable[[Any], dict[str, Any]] = lambda cell: {}  # a list has one entry for each direction


# By the class of the cell. A subclass may compute something else, and needs its own row.
CELLS: Final[dict[type[Cell], OfCell]] = {
    RNNCell: OfCell("RNN", lambda cell: {"activations": [cell.nonlinearity.capitalize()]}),
    LSTMCell: OfCell("LSTM"),
    GRUCell: OfCell("GRU", lambda cell: {"linear_before_reset": 1}),
    GRUResetBeforeCell: OfCell("GRU", lambda cell: {"linear_before_reset": 0}),
}


def reordered(array: HostArray, order: tuple[int, ...]) -> HostArray:
    """array (…, G·H) with its blocks of H columns in another order: the new block i is the old block order[i]."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[i] for i in order], axis=-1)


def to_onnx(layer: Any, gates: tuple[int, ...]) -> tuple[HostArray, HostArray, HostArray]:
    """A layer's parameters on the host → W, R, B of one direction. ONNX has no heads: R is then 0 between two heads."""
    Wx, Wh, b = layer
    Wh = dense(np, Wh)
    G, H = len(gates), len(Wh)
    b_x = b[: G * H]
    b_h = np.zeros(G * H, b.dtype)
    b_h[len(b_h) - (len(b) - G * H) :] = b[G * H :]  # b_hn of a GRU with reset_after
    W, R = (reordered(matrix, gates).T for matrix in (Wx, Wh))
    return W, R, np.concatenate([reordered(b_x, gates), reordered(b_h, gates)])


def from_onnx(
    cell: Cell, gates: tuple[int, ...], W: HostArray, R: HostArray, B: HostArray
) -> tuple[HostArray, HostArray, HostArray]:
    """W, R, B of one direction → Wx, Wh, b in C order."""
    order = tuple(map(gates.index, range(len(gates))))
    Wx, Wh = (np.ascontiguousarray(reordered(matrix.T, order)) for matrix in (W, R))
    b_x, b_h = (reordered(half, order) for half in np.split(B, 2))
    return Wx, Wh, merged_bias(np, cell, Wx.T, b_x, b_h)
