"""One direction of one layer in PyTorch's own operations, for gradients that the kernels do not support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import _VF, Tensor
from torch.nn import functional as F

from xrnn.exchange.torch_weights import CELLS
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
    (T, N, _), H = x.shape, weights[1].shape[1]
    if direction.mode not in _OPERATIONS:
        starts = [state[0] for state in initial] or [x.new_zeros((N, H))] * len(direction.initial)
        h, *last = step_by_step(direction.mode, x, starts, weights, lengths, reverse=direction.reverse)
        return [h, *(state[None] for state in last)]
    operation = _OPERATIONS[direction.mode]
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


def step_by_step(
    mode: str,
    x: Tensor,
    initial: Sequence[Tensor],
    weights: Sequence[Tensor],
    lengths: Tensor | None,
    *,
    reverse: bool,
) -> list[Tensor]:
    """A layer that PyTorch does not have → h (T, N, H) after each step, and the final states (N, H) each.

    weights   weight_ih and weight_hh, and bias_ih and bias_hh, if there is a bias
    """
    run = _slstm if mode.startswith("SLSTM") else _minimal
    return run(CELLS[mode], x, initial, weights, lengths, reverse)


def _minimal(
    cell: Any, x: Tensor, initial: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None, reverse: bool
) -> list[Tensor]:
    """weight_ih is (2H, D), or (3H, D) for a minLSTM; weight_hh and bias_hh have no elements."""
    (h,) = initial
    *gates, y = F.linear(x, weights[0], weights[2] if len(weights) > 2 else None).chunk(cell.pre, dim=-1)
    if cell.candidate == "positive":
        y = torch.where(y >= 0, y + 0.5, torch.sigmoid(y))
    # i / (f + i) = σ(log(i / f)), which is no 0 / 0 if both underflow
    u = torch.sigmoid(gates[0] if len(gates) == 1 else F.softplus(-gates[0]) - F.softplus(-gates[1]))
    if lengths is not None:  # past its end a row keeps its state
        steps = torch.arange(len(x), device=x.device)[:, None, None]
        u = torch.where(steps < lengths.to(x.device)[:, None], u, 0)
    states = []
    pairs = list(zip(u.unbind(), y.unbind(), strict=True))
    for u_t, y_t in pairs[::-1] if reverse else pairs:
        h = h + u_t * (y_t - h)  # not lerp, which takes one dtype: autocast gives two
        states.append(h)
    return [torch.stack(states[::-1] if reverse else states), h]


def _slstm(
    cell: Any, x: Tensor, initial: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None, reverse: bool
) -> list[Tensor]:
    """The stabiliser m has no gradient, as in the layer."""
    states, results = list(initial), []
    b_ih, b_hh = weights[2:] or (None, None)
    z = F.linear(x, weights[0], b_ih)
    steps = range(len(x))
    for t in reversed(steps) if reverse else steps:
        h, c, n, m = states
        log_i, f, g, o = (z[t] + F.linear(h, weights[1], b_hh)).chunk(4, dim=-1)
        log_f = f if cell.forget_gate == "exp" else F.logsigmoid(f)
        m = m.detach()
        m_next = torch.where(n == 0, log_i, torch.maximum(log_f + m, log_i)).detach()
        i, f = torch.exp(log_i - m_next), torch.exp((log_f + m - m_next).clamp(max=80))  # finite where n = 0
        c, n = f * c + i * torch.tanh(g), f * n + i
        after = [torch.sigmoid(o) * c / n, c, n, m_next]
        if lengths is not None:  # past its end a row keeps its states
            running = (t < lengths.to(x.device))[:, None]
            after = [torch.where(running, new, old) for new, old in zip(after, states, strict=True)]
        states = after
        results.append(states[0])
    return [torch.stack(results[::-1] if reverse else results), *states]


def _turn(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse each row in time. Steps past its length stay in place."""
    if lengths is None:
        return x.flip(0)
    steps, ends = torch.arange(len(x), device=x.device)[:, None], lengths.to(x.device)
    return x[torch.where(steps < ends, ends - 1 - steps, steps), torch.arange(x.shape[1], device=x.device)]
