"""One direction of one layer: its cell, and its weights as the backend's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from xrnn.exchange.torch_weights import CELLS, merged_bias, split, transposed
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import FrozenWeights
from xrnn.ops.int8 import quantize_columns
from xrnn.torch.fallbacks import Reasons
from xrnn.torch.memory import Memory
from xrnn.typing import Array

# The address, shape, strides, dtype and negative bit of each tensor. An array that views a tensor depends on nothing
# else: it stays valid as long as these are the same.
Layouts: TypeAlias = list[tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype, bool]]


def layouts_of(tensors: Sequence[Tensor]) -> Layouts:
    return [(t.data_ptr(), t.shape, t.stride(), t.dtype, t.is_neg()) for t in tensors]


@dataclass(slots=True, eq=False)
class Direction:
    """The arrays are views, so they show in-place changes of the weights."""

    mode: str  # PyTorch's name of the cell
    memory: Memory
    reverse: bool
    tensors: list[Tensor]  # the weights, detached: after `weight.data = …` they still have the old values
    layouts: Layouts  # of `tensors`, when the arrays were made
    arrays: list[Array]  # in the order of `torch_weights.TorchWeights`
    reasons: Reasons  # of the module, for gradients that run in PyTorch
    cell: Cell = field(init=False)
    Wx: Any = field(init=False)  # (D, G·H), a view of weight_ih; an Int8Matrix after `freeze(int8=True)`
    Wh: Any = field(init=False)  # (H, G·H), a view of weight_hh, or (k, H/k, G·H/k); or an Int8Matrix
    biases: Sequence[Array] = field(init=False)  # bias_ih, bias_hh (G·H,); empty if bias=False
    own: Sequence[Array] = field(init=False)  # the cell's own parameters
    initial: tuple[None, ...] = field(init=False)  # initial states of zeros: None for each
    after: slice = field(init=False)  # the index of the states after each step
    last: slice = field(init=False)  # the index of the final state
    frozen: FrozenWeights | None = field(init=False, default=None)  # after `freeze`
    is_int8: bool = field(init=False, default=False)
    _fixed_bias: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.cell = CELLS[self.mode]
        self.Wx, self.Wh = self.arrays[0].T, transposed(self.arrays[1])
        self.biases, self.own = split(self.cell, self.arrays)
        self.initial = (None,) * len(self.cell.states)
        self.after = slice(None, -1) if self.reverse else slice(1, None)
        self.last = slice(0, 1) if self.reverse else slice(-1, None)

    @classmethod
    def of(cls, mode: str, memory: Memory, reverse: bool, weights: Sequence[Tensor], reasons: Reasons) -> Direction:
        tensors = [w.detach() for w in weights]
        return cls(mode, memory, reverse, tensors, layouts_of(tensors), [memory.weight(t) for t in tensors], reasons)

    def with_weights(self, weights: Sequence[Tensor]) -> Direction:
        """This direction with other weights. Returns `self` if its arrays are views of these weights already."""
        if layouts_of(weights) == self.layouts:
            return self
        return self.of(self.mode, self.memory, self.reverse, weights, self.reasons)

    def freeze(self, *, int8: bool) -> None:
        """Keep what the backend makes of the weights, for inference. The caller must drop it if the weights change."""
        self._fixed_bias = self.bias
        self.is_int8 = int8
        if int8:
            self.Wx, self.Wh = quantize_columns(self.Wx), quantize_columns(self.Wh)
        self.frozen = FrozenWeights(self.Wx, self.Wh)

    @property
    def bias(self) -> Array:
        """b, the sum of PyTorch's two. It is only kept by `freeze`: PyTorch does not report changes through `.data`."""
        if self._fixed_bias is not None:
            return self._fixed_bias
        return merged_bias(self.memory.backend.xp, self.cell, self.arrays[0], *self.biases)
