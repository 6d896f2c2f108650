"""A module's weights as the backend's arrays: views, wrapped once and kept while their storage is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from xrnn.interop.torch_weights import CELLS, merged_bias
from xrnn.ops.cell import Cell
from xrnn.torch.memory import Memory
from xrnn.torch.unsupported import PLAIN, Unsupported, check_tensor
from xrnn.typing import Array

# The attribute of a module that holds its views.
WRAPPED: Final = "_xrnn_views"

# Where the values of each tensor lie, and how: all that a view depends on.
Storage: TypeAlias = list[tuple[int, torch.Size, tuple[int, ...], torch.dtype]]


class Views(NamedTuple):
    """The weights of one direction of one layer. A change shows in them, by whatever way it was made.

    They keep the storage alive, so that no other one can take its address.
    """

    storage: Storage
    arrays: list[Array]  # weight_ih (G·H, D), weight_hh (G·H, H), and bias_ih, bias_hh (G·H,) unless bias=False
    Wx: Array  # (D, G·H), a view of the same
    Wh: Array  # (H, G·H)

    def bias(self, xp: Any, cell: Cell) -> Array:
        """Summed at each call: it takes a microsecond, and of a change through `.data` PyTorch would not tell."""
        return merged_bias(xp, cell, self.arrays[1], *(self.arrays[2:] or (None, None)))


def storage_of(tensors: Sequence[Tensor]) -> Storage:
    return [(w.data_ptr(), w.shape, w.stride(), w.dtype) for w in tensors]


def view(memory: Memory, tensors: Sequence[Tensor], storage: Storage) -> Views:
    arrays = [memory.array(w) for w in tensors]
    return Views(storage, arrays, arrays[0].T, arrays[1].T)


def weights_of(module: nn.RNNBase) -> list[list[Tensor]]:
    """The weights of each direction of each layer, as they are now.   Raises Unsupported for what is no tensor."""
    parameters = module._parameters
    try:
        weights = [[parameters[name] for name in names] for names in module._all_weights]
    except KeyError:  # parametrised, or a replica of nn.DataParallel
        weights = [[getattr(module, name, None) for name in names] for names in module._all_weights]
    for tensors in weights:
        for w in tensors:
            if type(w) not in PLAIN:
                raise Unsupported(f"a weight is a {type(w).__name__}, no plain tensor")
    return weights


def views_of(module: nn.RNNBase, memory: Memory, weights: list[list[Tensor]], x: Tensor) -> list[Views]:
    """The views of the weights.   Raises Unsupported where these don't fit the module or x."""
    kept: list[Views] = module.__dict__.get(WRAPPED, [])
    storages = [storage_of(tensors) for tensors in weights]
    if [views.storage for views in kept] == storages and kept[0].storage[0][3] is x.dtype:
        return kept
    for k, tensors in enumerate(weights):
        for name, tensor, shape in zip(module._all_weights[k], tensors, _shapes(module, k), strict=False):
            check_tensor(name, tensor, x)
            if tensor.shape != shape:
                raise Unsupported(f"{name} is {tuple(tensor.shape)}, not {shape}")
    made = [view(memory, tensors, storage) for tensors, storage in zip(weights, storages, strict=True)]
    module.__dict__[WRAPPED] = made  # replaced whole, never changed: another thread may be reading the old ones
    return made


def _shapes(module: nn.RNNBase, k: int) -> list[tuple[int, ...]]:
    """The shapes of weight_ih, weight_hh, bias_ih and bias_hh of direction k, counted through the layers."""
    H, directions = module.hidden_size, 1 + module.bidirectional
    rows = len(CELLS[module.mode].from_x) * H
    return [(rows, module.input_size if k < directions else directions * H), (rows, H), (rows,), (rows,)]
