"""minGRU and minLSTM in PyTorch, which has no such modules: one product, then a loop of `lerp`; training by autograd.

compiled   by torch.compile, for the gates and the loop together
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.cases import Problem, square
from benchmarks.peers import Built, Call


def about() -> dict[str, str]:
    return {"torch": torch.__version__}


def hidden(x: torch.Tensor, h: torch.Tensor, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """h (T, N, H).   W (2H, D) for a minGRU, (3H, D) for a minLSTM"""
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


def build(problem: Problem, threads: int, compiled: bool = False) -> Built:
    if threads:
        torch.set_num_threads(threads)
    left, right = (torch.from_numpy(a) for a in square())
    product = torch.empty_like(left)
    rate: dict[str, Call] = {"product": lambda: torch.matmul(left, right, out=product)}
    case = problem.case
    # The compiler unrolls the loop: at T = 1000 it needs minutes.
    if case.cell not in ("min-gru", "min-lstm") or case.ragged or (compiled and case.T > 50):
        return Built(rate)
    run: Any = torch.compile(hidden, dynamic=False) if compiled else hidden
    x, h_prev, dh = (torch.from_numpy(a) for a in (problem.x, problem.h_prev, problem.dh))
    W, b = torch.from_numpy(problem.Wx.T.copy()), torch.from_numpy(problem.b)
    x_leaf, *leaves = (a.clone().requires_grad_() for a in (x, h_prev, W, b))
    dWh = torch.from_numpy(problem.Wh)  # without elements

    def step() -> torch.Tensor:
        with torch.inference_mode():
            return run(x[:1], h_prev, W, b)[0]

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return run(x, h_prev, W, b)

    def train_on_data(x: torch.Tensor = x) -> tuple[torch.Tensor, ...]:
        for leaf in leaves:
            leaf.grad = None
        h = run(x, *leaves)
        h.backward(dh)
        dh_prev, dW, db = (leaf.grad for leaf in leaves)
        return h, dh_prev, dW.T, dWh, db

    def train() -> tuple[torch.Tensor, ...]:
        x_leaf.grad = None
        h, *gradients = train_on_data(x_leaf)
        return h, x_leaf.grad, *gradients

    return Built({"step": step, "forward": forward, "train": train, "train on data": train_on_data, **rate})
