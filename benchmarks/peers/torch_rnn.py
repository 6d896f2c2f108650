"""torch.nn.RNN and RNNCell: inference under inference_mode, training by autograd."""

from __future__ import annotations

import torch

from benchmarks.cases import Problem, square
from benchmarks.peers import Built


def about() -> dict[str, str]:
    return {"torch": torch.__version__, "mkldnn": str(torch.backends.mkldnn.is_available())}


def build(problem: Problem, threads: int, device: str = "cpu") -> Built:
    if threads:
        torch.set_num_threads(threads)
    case = problem.case
    rnn, cell = (module(case.D, case.H, device=device) for module in (torch.nn.RNN, torch.nn.RNNCell))
    # PyTorch keeps its weights transposed, and a bias for each product, of which ours is the first.
    weights = [torch.from_numpy(a) for a in (problem.Wx.T.copy(), problem.Wh.T.copy(), problem.b)]
    weights.append(torch.zeros(case.H))
    with torch.no_grad():
        for layer in (rnn, cell):
            for parameter, weight in zip(layer.parameters(), weights, strict=True):
                parameter.copy_(weight)

    x, h_prev, dh = (torch.from_numpy(a).to(device) for a in (problem.x, problem.h_prev[None], problem.dh))
    leaves = [x.clone().requires_grad_(), h_prev.clone().requires_grad_(), *rnn.parameters()]
    left, right = (torch.from_numpy(a).to(device) for a in square())
    product = torch.empty_like(left)

    def step() -> torch.Tensor:
        with torch.inference_mode():
            return cell(x[0], h_prev[0])

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return rnn(x, h_prev)[0]

    def train() -> tuple[torch.Tensor, ...]:
        h = rnn(leaves[0], leaves[1])[0]
        dx, dh_prev, dWx, dWh, db, _ = torch.autograd.grad(h, leaves, dh)
        return h, dx, dh_prev[0], dWx.T, dWh.T, db

    return Built(
        {
            "step": step,
            "forward": forward,
            "train": train,
            "product": lambda: torch.matmul(left, right, out=product),
        }
    )
