"""Convert a recurrent layer's weights from PyTorch's layout to xrnn's and back. It needs arrays, but not PyTorch.

PyTorch has weight_ih (G·H, D), weight_hh (G·H, H), bias_ih (G·H,) and bias_hh (G·H,), with the gates in the order
i f g o and r z n. xrnn has the same order, the transposed matrices Wx (D, G·H) and Wh (H, G·H), and one bias for each
pre-activation: the sum of PyTorch's two. GRU's candidate has two pre-activations, because the reset gate is
applied between them, and so it has two biases here too. The own parameters of a cell are the same in both, and so are
the recurrent weights of several heads, (k, H/k, G·H/k), which only xrnn.torch.SLSTM has.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from xrnn.layers.gru import GRU
from xrnn.layers.lru import LRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.minimal import MinGRU, MinLSTM
from xrnn.layers.rnn import RNN
from xrnn.layers.slstm import SLSTM
from xrnn.ops.cell import Cell
from xrnn.ops.cells.slstm import SLSTMCell
from xrnn.ops.heads import dense, hidden_size
from xrnn.typing import Array

# Each tuple ends with the cell's own parameters.
Weights: TypeAlias = tuple[Array, ...]  # Wx, Wh, b
TorchWeights: TypeAlias = tuple[Array, ...]  # weight_ih, weight_hh, bias_ih, bias_hh

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
    "LRU": (LRU, {}),
}
CELLS: Final[Mapping[str, Cell]] = {mode: layer._cell_with(options) for mode, (layer, options) in MODES.items()}


def parameter_names(cell: Cell, layer: int, reverse: bool, bias: bool = True) -> tuple[str, ...]:
    """PyTorch's names of one direction of one layer, in the order of `TorchWeights`: weight_ih_l0, …"""
    kinds = (*("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if bias else 2], *cell.params)
    return tuple(f"{kind}_l{layer}{'_reverse' if reverse else ''}" for kind in kinds)


def shapes(
    cell: Cell, input_size: int, units: int, heads: int | None = None, bias: bool = True
) -> list[tuple[int, ...]]:
    """The shapes of `TorchWeights`.   units: of one direction; heads: None for a matrix"""
    H = units * cell.components
    of_x, of_h = len(cell.from_x) * H, len(cell.from_h) * H
    weight_hh = (of_h, H) if heads is None else (heads, H // heads, of_h // heads)
    return [(of_x, input_size), weight_hh, *[(of_x,), (of_h,)][: 2 * bias], *((units,) for _ in cell.params)]


def split(cell: Cell, weights: Sequence[Array]) -> tuple[Sequence[Array], Sequence[Array]]:
    """The biases, none or two, and the own parameters, of weights in the order of `TorchWeights`."""
    own = len(weights) - len(cell.params)
    return weights[2:own], weights[own:]


def transposed(matrix: Array) -> Array:
    """A matrix of PyTorch as a matrix of xrnn, or the other way round. Weights of several heads stay as they are."""
    return matrix.T if matrix.ndim == 2 else matrix


def from_torch(xp: Any, cell: Cell, *weights: Array) -> Weights:
    """PyTorch's weights → xrnn's: Wx and Wh as transposed views, b as a new array: zeros if there are no biases."""
    biases, own = split(cell, weights)
    return weights[0].T, transposed(weights[1]), merged_bias(xp, cell, weights[0], *biases), *own


def merged_bias(
    xp: Any, cell: Cell, weight_ih: Array, bias_ih: Array | None = None, bias_hh: Array | None = None
) -> Array:
    """b as a new array: for each block of z, the sum of PyTorch's biases in this block."""
    H = len(weight_ih) // len(cell.from_x)
    if bias_ih is None or bias_hh is None:
        return xp.zeros(cell.pre * H, weight_ih.dtype)
    if cell.from_x == cell.from_h:
        return bias_ih + bias_hh
    common = _common(cell.from_x, cell.from_h) * H
    b: Array = xp.concatenate((bias_ih, bias_hh[common:]))
    b[:common] += bias_hh[:common]
    return b


def to_torch(xp: Any, cell: Cell, Wx: Array, Wh: Array, b: Array, *own: Array) -> TorchWeights:
    """xrnn's weights → PyTorch's: matrices as transposed views, biases as new arrays.

    If xrnn has one bias where PyTorch adds two, bias_ih gets it, and bias_hh is 0. PyTorch's modules have no heads:
    their weight_hh is then 0 between two heads.
    """
    if not isinstance(cell, SLSTMCell):
        Wh = dense(xp, Wh)
    H = hidden_size(Wh)
    of_x = len(cell.from_x) * H
    common = _common(cell.from_x, cell.from_h) * H
    bias_ih = b[:of_x].copy()
    bias_hh = xp.zeros(len(cell.from_h) * H, b.dtype)
    bias_hh[common:] = b[of_x:]
    return Wx.T, transposed(Wh), bias_ih, bias_hh, *own


def bias_gradients(xp: Any, cell: Cell, db: Array) -> tuple[Array, Array]:
    """The gradients of bias_ih and bias_hh: for each, the blocks of db to which it was added.

    The first is a view of db. The second is a copy, because gradients may be clipped in place.
    """
    if cell.from_x == cell.from_h:
        return db, db.copy()
    H = len(db) // cell.pre
    of_x = len(cell.from_x) * H
    common = _common(cell.from_x, cell.from_h) * H
    return db[:of_x], xp.concatenate((db[:common], db[of_x:]))


@functools.cache
def _common(from_x: tuple[int, ...], from_h: tuple[int, ...]) -> int:
    """The number of leading gates with one block, to which both biases are added. The other gates have two blocks."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(from_x, from_h, strict=False)))
