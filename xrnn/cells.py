"""The table of the recurrent layers by the name of their cell. The commands, files and benchmarks read it.

Other formats have one table each: `CELLS` in `xrnn.exchange.c`, `onnx_weights` and `keras`, by the class of the cell,
and `torch_weights.MODES`. They refuse a cell without a row.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.current import CurrentRNN
from xrnn.layers.dropout import Dropout
from xrnn.layers.embedding import Embedding
from xrnn.layers.gru import GRU
from xrnn.layers.layer_norm import LayerNorm
from xrnn.layers.linear import Linear
from xrnn.layers.lru import LRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.mamba import Mamba
from xrnn.layers.mamba2 import Mamba2
from xrnn.layers.minimal import MinGRU, MinLSTM
from xrnn.layers.mlstm import MLSTM
from xrnn.layers.network import Network
from xrnn.layers.own_cell import Recurrent
from xrnn.layers.recurrent import RecurrentLayer, shapes_of
from xrnn.layers.rnn import RNN
from xrnn.layers.slstm import SLSTM
from xrnn.layers.stack import Stack
from xrnn.messages import kind_of
from xrnn.ops.cell import Cell
from xrnn.ops.cells.rnn import CurrentRNNCell, LeakyRNNCell

LayerClass = TypeVar("LayerClass", bound=type[RecurrentLayer])

CELLS: Final[dict[str, Any]] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "min-gru": MinGRU,
    "min-lstm": MinLSTM,
    "slstm": SLSTM,
    "lru": LRU,
}
# The cells of these layers with other options, and of a layer in `LEAVES`, in `xrnn info --cell`.
VARIANTS: Final[dict[str, Cell]] = {"leak": LeakyRNNCell(0.5), "current-rnn": CurrentRNNCell(0.5)}
# The other layers that files hold under the name of their class.
LEAVES: Final[tuple[Any, ...]] = (CurrentRNN, Mamba, Mamba2, MLSTM, Linear, Embedding, LayerNorm, Dropout, Recurrent)
CONTAINERS: Final[tuple[Any, ...]] = (Bidirectional, Stack, Network)


def register_cell(layer: LayerClass) -> LayerClass:
    """Add a layer of your own to the table of cells, under the name of its cell. It may be used as a decorator.

    layer   a subclass of `RecurrentLayer`, with its cell's class in `cell_type`

    Files then hold the layer under the name of its class, and `Classifier` and `Regressor` find it by the name of its
    cell. A program that reads such a file must register the layer first, so the commands can't read it.
    Other formats need a row in their own table. A class that is defined again, as when a cell of a notebook runs again,
    replaces the earlier one.

    Raises TypeError for another object and for a class without `cell_type`, ValueError if the name of the cell or of
    the class is taken.

    >>> from xrnn import RNNCell, SingleStateLayer
    >>> class SlowCell(RNNCell):
    ...     name = "slow"
    >>> @register_cell
    ... class Slow(SingleStateLayer):
    ...     cell_type = SlowCell
    ...     def __init__(self, Wx, Wh, b, *, reverse=False):
    ...         super().__init__(SlowCell(), Wx, Wh, b, reverse=reverse)
    >>> save("slow.safetensors", Slow.init(3, 8, rng=0))
    >>> load("slow.safetensors")
    Slow(3 → 8, 96 parameters, float32, numpy)
    """
    if not (isinstance(layer, type) and issubclass(layer, RecurrentLayer)) or issubclass(layer, Recurrent):
        got = layer.__name__ if isinstance(layer, type) else f"a {kind_of(layer)}"
        raise TypeError(f"layer is {got}: expected a subclass of RecurrentLayer; pass the class itself")
    name = layer._cell_with({}).name
    earlier = [key for key, registered in CELLS.items() if _place(registered) == _place(layer)]
    others = {key: registered for key, registered in CELLS.items() if key not in earlier}
    kinds = (*others.values(), *LEAVES, *CONTAINERS)
    if name in (*others, *VARIANTS) or layer.__name__ in (kind.__name__ for kind in kinds):
        raise ValueError(
            f"{layer.__name__} with the cell {name!r} has the name of a registered layer: expected new names; rename "
            "the class and its cell"
        )
    for key in earlier:
        del CELLS[key]
    CELLS[name] = layer
    return layer


def _place(kind: type) -> tuple[str, str]:
    """Where a class is defined."""
    return kind.__module__, kind.__qualname__


def is_layer(layer: Any) -> bool:
    """Whether `layer` is a Recurrent or of a class in the table. A subclass of one may compute something else."""
    return type(layer) in (*CELLS.values(), Recurrent)


def cell_of(name: str) -> Cell:
    """A cell of the table."""
    return CELLS[name]._cell_with({})


def shapes(name: str, input_size: int, hidden_size: int, heads: int | None = None) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a layer, by name, in the order of its constructor."""
    return shapes_of(cell_of(name), input_size, hidden_size, heads)
