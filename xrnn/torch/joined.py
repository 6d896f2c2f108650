"""The results of several directions in one tensor.

`torch.cat` would do, but it uses PyTorch's threads, and a forked child waits forever for those of its parent. The
backend copies the arrays on the calling thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xrnn.torch.memory import Memory


def side_by_side(memory: Memory, *results: Tensor) -> Tensor:
    """(T, N, H) of each direction → (T, N, directions · H)."""
    return _joined(memory, 2, results)


def stacked(memory: Memory, states: Sequence[Tensor]) -> Tensor:
    """(1, N, H) of each direction of each layer → (layers · directions, N, H)."""
    return _joined(memory, 0, states)


def _joined(memory: Memory, axis: int, tensors: Sequence[Tensor]) -> Tensor:
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _Joined.apply(memory, axis, *tensors)
    return _copied(memory, axis, tensors)


def _copied(memory: Memory, axis: int, tensors: Sequence[Tensor]) -> Tensor:
    with memory.entered():
        return memory.tensor(memory.backend.xp.concatenate([memory.array(tensor) for tensor in tensors], axis))


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, memory: Memory, axis: int, *tensors: Tensor) -> Tensor:
        ctx.axis = axis
        ctx.sizes = [tensor.shape[axis] for tensor in tensors]
        return _copied(memory, axis, tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *gradient.split(ctx.sizes, ctx.axis)
