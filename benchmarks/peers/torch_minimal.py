"""minGRU, minLSTM, sLSTM and LRU in PyTorch, which has no such modules; training by autograd.

The product with x is computed for all steps at once. Then comes a loop over time, of `lerp` for the minimal cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from benchmarks.cases import Problem, square
from benchmarks.peers import Built, Call


def about() -> dict[str, str]:
    return {"torch": torch.__version__}


def lru(
    x: torch.Tensor, h: torch.Tensor, W: torch.Tensor, Wh: torch.Tensor, b: torch.Tensor, *own: torch.Tensor
) -> torch.Tensor:
    """h (T, N, 2H).   W (2H, D), Wh (0, 2H); own: ν, θ, γ (H,)"""
    nu, theta, gamma = own
    eigenvalue = torch.polar(torch.exp(-torch.exp(nu)), torch.exp(theta))
    real, imaginary = (torch.exp(gamma) * part for part in torch.nn.functional.linear(x, W, b).chunk(2, dim=-1))
    s = torch.complex(*(part.contiguous() for part in h.chunk(2, dim=-1)))
    states = []
    for z_t in torch.complex(real, imaginary).unbind():
        s = torch.addcmul(z_t, eigenvalue, s)
        states.append(s)
    all_states = torch.stack(states)
    return torch.cat((all_states.real, all_states.imag), dim=-1)


def minimal(x: torch.Tensor, h: torch.Tensor, W: torch.Tensor, Wh: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """h (T, N, H).   W (2H, D) for a minGRU, (3H, D) for a minLSTM, Wh (0, H)"""
    *gates, y = torch.nn.functional.linear(x, W, b).chunk(len(b) // h.shape[-1], dim=-1)
    u = torch.sigmoid(gates[0])
    if len(gates) == 2:
        i = torch.sigmoid(gates[1])
        u = i / (u + i)
    states = []
    for u_t, y_t in zip(u.unbind(), y.unbind(), strict=True):
        h = torch.lerp(h, y_t, u_t)
        states.append(h)
    return torch.stack(states)


def slstm(x: torch.Tensor, *operands: torch.Tensor) -> torch.Tensor:
    """h (T, N, H).   The operands are h, c, n, m, W (4H, D), Wh (4H, H), b; the forget gate is an exponential."""
    h, c, n, m, W, Wh, b = operands
    m = m.detach()
    states = []
    for z in torch.nn.functional.linear(x, W, b).unbind():
        log_i, log_f, g, o = torch.addmm(z, h, Wh.T).chunk(4, dim=-1)
        with torch.no_grad():
            past = log_f + m
            m_next = torch.where(n == 0, log_i, torch.maximum(past, log_i))
        i, f = torch.exp(log_i - m_next), torch.exp(log_f + (m - m_next))
        c = f * c + i * torch.tanh(g)
        n = f * n + i
        m = m_next
        h = torch.sigmoid(o) * c / n
        states.append(h)
    return torch.stack(states)


_FUNCTIONS: Final[dict[str, Callable[..., torch.Tensor]]] = {
    "min-gru": minimal,
    "min-lstm": minimal,
    "slstm": slstm,
    "lru": lru,
}


def build(problem: Problem, threads: int) -> Built:
    if threads:
        torch.set_num_threads(threads)
    left, right = (torch.from_numpy(a) for a in square())
    product = torch.empty_like(left)
    rate: dict[str, Call] = {"product": lambda: torch.matmul(left, right, out=product)}
    case = problem.case
    if case.cell not in _FUNCTIONS or case.ragged:
        return Built(rate)
    run = _FUNCTIONS[case.cell]
    x, dh, *states = (torch.from_numpy(a) for a in (problem.x, problem.dh, *problem.states))
    weights = [torch.from_numpy(w.T.copy()) for w in problem.weights]
    operands = *states, *weights
    x_leaf, *leaves = (a.clone().requires_grad_() for a in (x, *operands))

    def step() -> torch.Tensor:
        with torch.inference_mode():
            return run(x[:1], *operands)[0]

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return run(x, *operands)

    def train_on_data(x: torch.Tensor = x) -> tuple[torch.Tensor, ...]:
        for leaf in leaves:
            leaf.grad = None
        h = run(x, *leaves)
        h.backward(dh)
        gradients = [leaf.grad for leaf in leaves]
        # The stabiliser of an sLSTM has none.
        dstates = [dstate for dstate in gradients[: len(states)] if dstate is not None]
        dW, dWh, *others = gradients[len(states) :]
        # Wh of a cell without a recurrent product has no elements.
        return h, *dstates, dW.T, problem.Wh if dWh is None else dWh.T, *others

    def train() -> tuple[torch.Tensor, ...]:
        x_leaf.grad = None
        h, *gradients = train_on_data(x_leaf)
        return h, x_leaf.grad, *gradients

    return Built({"step": step, "forward": forward, "train": train, "train on data": train_on_data, **rate})
