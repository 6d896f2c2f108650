"""Convert a recurrent layer's weights from PyTorch's layout to xrnn's and back. It needs arrays, but not PyTorch.

PyTorch has weight_ih (G·H, D), weight_hh (G·H, H), bias_ih (G·H,) and bias_hh (G·H,), with the gates in the order
i f g o and r z n. xrnn has the same order, the transposed matrices Wx (D, G·H) and Wh (H, G·H), and one bias for each
pre-activation: the sum of PyTorch's two. GRU's candidate has two pre-activations, because the reset gate is
applied between them, and so it has two biases here too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from xrnn.layers.gru import GRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.minimal import MinGRU, MinLSTM
from xrnn.layers.rnn import RNN
from xrnn.layers.slstm import SLSTM
from xrnn.ops.cell import Cell
from xrnn.ops.heads import dense
from xrnn.typing import Array

Weights: TypeAlias = tuple[Array, Array, Array]  # Wx, Wh, b
TorchWeights: TypeAlias = tuple[Array, Array, Array, Array]  # weight_ih, weight_hh, bias_ih, bias_hh

# By the `mode` of PyTorch's modules, and of those that only xrnn.torch has: the layer with the same equation, and its
# options.
MODES: Final[Mapping[str, tuple[Any, dict[str, Any]]]] = {
    "RNN_TANH": (RNN, {"nonlinearity": "tanh"}),
    "RNN_RELU": (RNN, {"nonlinearity": "relu"}),
    "LSTM": (LSTM, {}),
    "GRU": (GRU, {}),
    "MIN_GRU": (MinGRU, {}),
    "MIN_GRU_POSITIVE": (MinGRU, {"candidate": "positive"}),
    "MIN_LSTM": (MinLSTM, {}),
    "MIN_LSTM_POSITIVE": (MinLSTM, {"candidate": "positive"}),
    "SLSTM": (SLSTM, {}),
    "SLSTM_SIGMOID": (SLSTM, {"forget_gate": "sigmoid"}),
}
CELLS: Final[Mapping[str, Cell]] = {mode: layer._cell_with(options) for mode, (layer, options) in MODES.items()}


def parameter_names(layer: int, reverse: bool, bias: bool = True) -> tuple[str, ...]:
    """PyTorch's names of one direction of one layer, in the order of `TorchWeights`: weight_ih_l0, …"""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if bias else 2]
    return tuple(f"{kind}_l{layer}{'_reverse' if reverse else ''}" for kind in kinds)


def from_torch(
    xp: Any, cell: Cell, weight_ih: Array, weight_hh: Array, bias_ih: Array | None = None, bias_hh: Array | None = None
) -> Weights:
    """PyTorch's weights → xrnn's: Wx and Wh as transposed views, b as a new array: zeros if biases are None."""
    return weight_ih.T, weight_hh.T, merged_bias(xp, cell, weight_hh, bias_ih, bias_hh)


def merged_bias(xp: Any, cell: Cell, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None) -> Array:
    """b as a new array: for each block of z, the sum of PyTorch's biases in this block."""
    if bias_ih is None or bias_hh is None:
        zeros: Array = xp.zeros(cell.pre * weight_hh.shape[1], weight_hh.dtype)
        return zeros
    if cell.from_x == cell.from_h:
        return bias_ih + bias_hh
    common = _common(cell.from_x, cell.from_h) * weight_hh.shape[1]
    b: Array = xp.concatenate((bias_ih, bias_hh[common:]))
    b[:common] += bias_hh[:common]
    return b


def to_torch(xp: Any, cell: Cell, Wx: Array, Wh: Array, b: Array) -> TorchWeights:
    """xrnn's weights → PyTorch's: matrices as transposed views, biases as new arrays.

    If xrnn has one bias where PyTorch adds two, bias_ih gets it, and bias_hh is 0. PyTorch has no heads: weight_hh is
    then 0 between two heads.
    """
    Wh = dense(xp, Wh)
    H = Wh.shape[0]
    of_x, common = len(cell.from_x) * H, _common(cell.from_x, cell.from_h) * H
    bias_ih, bias_hh = b[:of_x].copy(), xp.zeros(len(cell.from_h) * H, b.dtype)
    bias_hh[common:] = b[of_x:]
    return Wx.T, Wh.T, bias_ih, bias_hh


def bias_gradients(xp: Any, cell: Cell, db: Array) -> tuple[Array, Array]:
    """The gradients of bias_ih and bias_hh: for each, the blocks of db to which it was added.

    The first is a view of db. The second is a copy, because gradients may be clipped in place.
    """
    if cell.from_x == cell.from_h:
        return db, db.copy()
    H = len(db) // cell.pre
    of_x, common = len(cell.from_x) * H, _common(cell.from_x, cell.from_h) * H
    return db[:of_x], xp.concatenate((db[:common], db[of_x:]))


@functools.cache
def _common(from_x: tuple[int, ...], from_h: tuple[int, ...]) -> int:
    """The number of leading gates with one block, to which both biases are added. The other gates have two blocks."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(from_x, from_h, strict=False)))
