"""One direction of one layer: its cell, and its weights as the backend's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from xrnn.interop.torch_weights import CELLS, merged_bias
from xrnn.ops.cell import Cell
from xrnn.torch.memory import Memory
from xrnn.typing import Array

# Where the values of each tensor lie, its shape and its strides: all that a view depends on, but for the dtype.
Storage: TypeAlias = list[tuple[int, tuple[int, ...], tuple[int, ...]]]


def storage_of(tensors: Sequence[Tensor]) -> Storage:
    return [(t.data_ptr(), t.shape, t.stride()) for t in tensors]


@dataclass(slots=True, eq=False)
class Direction:
    """A change of the weights shows here, by whatever way it was made: the arrays are views.

    They keep the storage alive, so that no other one can take its address.
    """

    mode: str  # PyTorch's name of the cell
    memory: Memory
    reverse: bool
    storage: Storage
    arrays: list[Array]  # weight_ih (G·H, D), weight_hh (G·H, H), and bias_ih, bias_hh (G·H,) unless bias=False
    cell: Cell = field(init=False)
    Wx: Array = field(init=False)  # (D, G·H), a view of the same
    Wh: Array = field(init=False)  # (H, G·H)
    initial: tuple[None, ...] = field(init=False)  # states of zeros
    after: slice = field(init=False)  # of the states, those after each step
    last: slice = field(init=False)  # the final one

    def __post_init__(self) -> None:
        self.cell = CELLS[self.mode]
        self.Wx, self.Wh = self.arrays[0].T, self.arrays[1].T
        self.initial = (None,) * len(self.cell.states)
        self.after = slice(None, -1) if self.reverse else slice(1, None)
        self.last = slice(0, 1) if self.reverse else slice(-1, None)

    @classmethod
    def of(cls, mode: str, memory: Memory, reverse: bool, weights: Sequence[Tensor]) -> Direction:
        return cls(mode, memory, reverse, storage_of(weights), [memory.array(w) for w in weights])

    def with_weights(self, weights: Sequence[Tensor]) -> Direction:
        """The same direction with these weights: a hook on saved tensors may have put copies in their place."""
        return self if storage_of(weights) == self.storage else self.of(self.mode, self.memory, self.reverse, weights)

    @property
    def bias(self) -> Array:
        """b, summed at each call: it takes a microsecond, and of a change through `.data` PyTorch would not tell."""
        xp: Any = self.memory.backend.xp
        return merged_bias(xp, self.cell, self.arrays[1], *(self.arrays[2:] or (None, None)))


@dataclass(slots=True, eq=False)
class Wrapped:
    """The directions of all layers of a module, as long as the weights lie where they lay.

    A copy of the module has weights of its own: there, and in a file, None takes the place of this.
    """

    mode: str
    dtype: torch.dtype
    device: torch.device
    storage: Storage
    directions: list[Direction]

    def fits(self, mode: str, x: Tensor, weights: Sequence[Tensor]) -> bool:
        return (
            mode == self.mode
            and x.dtype is self.dtype
            and x.device == self.device
            and storage_of(weights) == self.storage
        )

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()
