"""torch.nn.RNN, LSTM and GRU, one step by their cells: inference under inference_mode, training by autograd."""

from __future__ import annotations

from typing import Any, Final

import torch

from benchmarks.cases import Problem, square
from benchmarks.peers import Built
from benchmarks.peers.weights import for_torch, gradients_of_torch

_MODULES: Final[dict[str, Any]] = {
    "rnn": (torch.nn.RNN, torch.nn.RNNCell),
    "lstm": (torch.nn.LSTM, torch.nn.LSTMCell),
    "gru": (torch.nn.GRU, torch.nn.GRUCell),
}


def about() -> dict[str, str]:
    return {"torch": torch.__version__, "mkldnn": str(torch.backends.mkldnn.is_available())}


def build(problem: Problem, threads: int, device: str = "cpu") -> Built:
    if threads:
        torch.set_num_threads(threads)
    case = problem.case
    module, cell = (kind(case.D, case.H, device=device) for kind in _MODULES[case.cell])
    with torch.no_grad():
        for layer in (module, cell):
            for parameter, weight in zip(layer.parameters(), for_torch(problem), strict=True):
                parameter.copy_(torch.from_numpy(weight))

    x, dh, *states = (torch.from_numpy(a).to(device) for a in (problem.x, problem.dh, *problem.states))
    leaves = [a.clone().requires_grad_() for a in (x, *(state[None] for state in states))]
    leaves += module.parameters()
    left, right = (torch.from_numpy(a).to(device) for a in square())
    product = torch.empty_like(left)
    # nn.LSTM takes the pair of its states, and gives it back; the others take one tensor.
    paired = case.cell == "lstm"

    def step() -> torch.Tensor:
        with torch.inference_mode():
            return cell(x[0], tuple(states))[0] if paired else cell(x[0], states[0])

    initial = tuple(state[None] for state in states)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return module(x, initial if paired else initial[0])[0]

    def train() -> tuple[torch.Tensor, ...]:
        x_leaf, *state_leaves = leaves[: 1 + len(states)]
        h = module(x_leaf, tuple(state_leaves) if paired else state_leaves[0])[0]
        dx, *others = torch.autograd.grad(h, leaves, dh)
        dstates, dweights = others[: len(states)], others[len(states) :]
        return h, dx, *(d[0] for d in dstates), *gradients_of_torch(problem, tuple(dweights))

    return Built(
        {
            "step": step,
            "forward": forward,
            "train": train,
            "product": lambda: torch.matmul(left, right, out=product),
        }
    )
