"""One direction of one layer in PyTorch's own operations, for gradients that the kernels do not support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import _VF, Tensor

from xrnn.torch.direction import Direction

_OPERATIONS: Final[dict[str, Any]] = {
    "RNN_TANH": _VF.rnn_tanh,
    "RNN_RELU": _VF.rnn_relu,
    "LSTM": _VF.lstm,
    "GRU": _VF.gru,
}


def gradients(
    direction: Direction,
    x: Tensor,
    lengths: Tensor | None,
    initial: Sequence[Tensor],
    weights: Sequence[Tensor],
    dresults: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of x, the initial states and the weights; None for those that are not `needed`.

    If gradients are enabled, as in a `backward` with create_graph=True, they can be differentiated again.
    """
    inputs, again = [x, *initial, *weights], torch.is_grad_enabled()
    with torch.enable_grad():
        results = _run(direction, x, lengths, initial, weights)
    used = [(r, d) for r, d in zip(results, dresults, strict=True) if d is not None]
    found = iter(
        torch.autograd.grad(
            [r for r, _ in used],
            [t for t, need in zip(inputs, needed, strict=True) if need],
            [d for _, d in used],
            create_graph=again,
            allow_unused=True,
        )
    )
    return [next(found) if need else None for need in needed]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def with_value(tensor: Tensor, value: Tensor) -> Tensor:
    """`value` as a node of the graph of `tensor`. They differ if `tensor.data = …` has set another value."""
    return tensor if tensor.data_ptr() == value.data_ptr() else _Value.apply(tensor, value)


def _run(
    direction: Direction, x: Tensor, lengths: Tensor | None, initial: Sequence[Tensor], weights: Sequence[Tensor]
) -> list[Tensor]:
    """h (T, N, H), zero past the length of a row, and the final states (1, N, H)."""
    operation = _OPERATIONS[direction.mode]
    (T, N, _), H = x.shape, weights[1].shape[1]
    if direction.reverse:
        x = _turn(x, lengths)
    states: Any = initial or [x.new_zeros((1, N, H)) for _ in direction.initial]
    given: Any = states if direction.mode == "LSTM" else states[0]
    options = (list(weights), len(weights) == 4, 1, 0.0, True, False)  # biases, layers, dropout, training, directions
    if lengths is None:
        h, *final = operation(x, given, *options, False)
    else:
        data, sizes = _VF._pack_padded_sequence(x, lengths, False)
        data, *final = operation(data, sizes, given, *options)
        h, _ = _VF._pad_packed_sequence(data, sizes, False, 0.0, T)
    return [_turn(h, lengths) if direction.reverse else h, *final]


def _turn(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse each row in time. Steps past its length stay in place."""
    if lengths is None:
        return x.flip(0)
    steps, ends = torch.arange(len(x), device=x.device)[:, None], lengths.to(x.device)
    return x[torch.where(steps < ends, ends - 1 - steps, steps), torch.arange(x.shape[1], device=x.device)]
