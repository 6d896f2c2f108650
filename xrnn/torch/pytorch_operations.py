"""One direction of one layer in PyTorch's own operations, for gradients that the kernels do not support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import _VF, Tensor
from torch.nn import functional as F

from xrnn.exchange.torch_weights import CELLS, split
from xrnn.ops.cells.lru import LEAST_NU, MOST_NU
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
    inputs = [x, *initial, *weights]
    again = torch.is_grad_enabled()
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
    T, N, _ = x.shape
    H = len(weights[0]) // len(CELLS[direction.mode].from_x)
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

    weights   in the order of `torch_weights.TorchWeights`
    """
    cell = CELLS[mode]
    biases, own = split(cell, weights)
    b_ih, b_hh = biases or (None, None)
    z = F.linear(x, weights[0], b_ih)
    if mode == "LRU":
        step = _lru(z, *own)
    else:
        step = _slstm(cell, z, weights[1], b_hh) if mode.startswith("SLSTM") else _minimal(cell, z)
    states = list(initial)
    results = []
    steps = range(len(x))
    for t in reversed(steps) if reverse else steps:
        after = step(t, *states)
        if lengths is not None:  # past its end a row keeps its states
            running = (t < lengths.to(x.device))[:, None]
            after = [torch.where(running, new, old) for new, old in zip(after, states, strict=True)]
        states = after
        results.append(states[0])
    return [torch.stack(results[::-1] if reverse else results), *states]


# The step of a cell: (t, states) → the states after the step. z (T, N, G·H) is x @ Wx + b_ih of all steps. `unbind`
# divides it into steps, because the gradient of each z[t] would be an array of the size of z.
_Step: TypeAlias = Callable[..., list[Tensor]]


def _minimal(cell: Any, z: Tensor) -> _Step:
    *gates, y = z.chunk(cell.pre, dim=-1)
    if cell.candidate == "positive":
        y = torch.where(y >= 0, y + 0.5, torch.sigmoid(y))
    # i / (f + i) = σ(log(i / f)), which is no 0 / 0 if both underflow
    u = torch.sigmoid(gates[0] if len(gates) == 1 else F.softplus(-gates[0]) - F.softplus(-gates[1]))
    by_step = list(zip(u.unbind(), y.unbind(), strict=True))

    def step(t: int, h: Tensor) -> list[Tensor]:
        u, y = by_step[t]
        return [h + u * (y - h)]  # not lerp, which takes one dtype: autocast gives two

    return step


def _slstm(cell: Any, z: Tensor, weight_hh: Tensor, b_hh: Tensor | None) -> _Step:
    """The stabiliser m has no gradient, as in the layer."""
    if weight_hh.dim() == 3:  # heads: as a matrix that is 0 between two heads
        weight_hh = torch.cat([torch.block_diag(*gate) for gate in weight_hh.chunk(4, dim=2)], dim=1).T
    by_step = z.unbind()

    def step(t: int, h: Tensor, c: Tensor, n: Tensor, m: Tensor) -> list[Tensor]:
        log_i, f, g, o = (by_step[t] + F.linear(h, weight_hh, b_hh)).chunk(4, dim=-1)
        log_f = f if cell.forget_gate == "exp" else F.logsigmoid(f)
        m = m.detach()
        m_next = torch.where(n == 0, log_i, torch.maximum(log_f + m, log_i)).detach()
        i, f = torch.exp(log_i - m_next), torch.exp((log_f + m - m_next).clamp(max=80))  # finite where n = 0
        c, n = f * c + i * torch.tanh(g), f * n + i
        return [torch.sigmoid(o) * c / n, c, n, m_next]

    return step


def _lru(z: Tensor, nu: Tensor, theta: Tensor, gamma: Tensor) -> _Step:
    bound = nu.clamp(LEAST_NU, MOST_NU).detach()
    bounded = bound + (nu - nu.detach())
    if bounded.requires_grad:  # beyond a bound the gradient is 0 unless it leads back, as in the layer
        beyond = nu.detach() - bound
        bounded.register_hook(lambda d: d * (beyond * d >= 0))
    r, phase = torch.exp(-torch.exp(bounded)), torch.exp(theta)
    p, q = r * torch.cos(phase), r * torch.sin(phase)
    by_step = list(zip(*((torch.exp(gamma) * part).unbind() for part in z.chunk(2, dim=-1)), strict=True))

    def step(t: int, s: Tensor) -> list[Tensor]:
        re, im = s.chunk(2, dim=-1)
        z_re, z_im = by_step[t]
        return [torch.cat((p * re - q * im + z_re, p * im + q * re + z_im), dim=-1)]

    return step


def _turn(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse each row in time. Steps past its length stay in place."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(len(x), device=x.device)[:, None]
    ends = lengths.to(x.device)
    return x[torch.where(steps < ends, ends - 1 - steps, steps), torch.arange(x.shape[1], device=x.device)]
