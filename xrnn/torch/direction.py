"""What the recurrence of one direction of one layer is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xrnn.torch.memory import Memory
from xrnn.torch.weights import Views


@dataclass(slots=True, eq=False)
class Direction:
    """What a recurrence is given besides tensors with gradients."""

    mode: str  # PyTorch's name of the cell
    memory: Memory
    reverse: bool
    lengths: Tensor | None  # (N,) int64 on the CPU, none greater than the one before
    views: Views
