"""torch.nn.RNN, LSTM and GRU, or xrnn.torch's; one step with PyTorch's cells; training by autograd. Also by autocast.

With lengths, each call packs the rows and pads the result.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any, Final

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.cases import Problem, square
from benchmarks.peers import Built, Call
from benchmarks.peers.weights import for_torch, gradients_of_torch

_CELLS: Final[dict[str, Any]] = {"rnn": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}


def about() -> dict[str, str]:
    return {"torch": torch.__version__, "mkldnn": str(torch.backends.mkldnn.is_available())}


def build(
    problem: Problem, threads: int, device: str = "cpu", library: str = "torch.nn", bfloat16: bool = False
) -> Built:
    """bfloat16: within torch.autocast, which gives h in bfloat16; the gradients are float32."""
    autocast = partial(torch.autocast, device, torch.bfloat16, enabled=bfloat16)
    if threads:
        torch.set_num_threads(threads)
    left, right = (torch.from_numpy(a).to(device) for a in square())
    product = torch.empty_like(left)
    rate: dict[str, Call] = {"product": lambda: torch.matmul(left, right, out=product)}
    case = problem.case
    if case.cell not in _CELLS:
        return Built(rate)
    kind: Any = getattr(importlib.import_module(library), case.cell.upper())
    module, cell = (made(case.D, case.H, device=device) for made in (kind, _CELLS[case.cell]))
    with torch.no_grad():
        for layer in (module, cell):
            for parameter, weight in zip(layer.parameters(), for_torch(problem), strict=True):
                parameter.copy_(torch.from_numpy(weight))

    x, dh, *states = (torch.from_numpy(a).to(device) for a in (problem.x, problem.dh, *problem.states))
    x_leaf, *state_leaves = (a.clone().requires_grad_() for a in (x, *(state[None] for state in states)))
    leaves = [*state_leaves, *module.parameters()]
    # nn.LSTM takes and returns a pair of states; the others take and return one tensor.
    paired = case.cell == "lstm"

    def step() -> torch.Tensor:
        with torch.inference_mode(), autocast():
            return cell(x[0], tuple(states))[0] if paired else cell(x[0], states[0])

    initial = tuple(state[None] for state in states)
    # Packing needs the lengths on the CPU, also if x is on a GPU.
    lengths = None if problem.lengths is None else torch.from_numpy(problem.lengths)

    def run(x: torch.Tensor, initial: tuple[torch.Tensor, ...]) -> torch.Tensor:
        given = initial if paired else initial[0]
        if lengths is None:
            return module(x, given)[0]
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return pad_packed_sequence(module(packed, given)[0], total_length=case.T)[0]

    def forward() -> torch.Tensor:
        with torch.inference_mode(), autocast():
            return run(x, initial)

    def train_on_data(x: torch.Tensor = x) -> tuple[torch.Tensor, ...]:
        for leaf in leaves:
            leaf.grad = None
        with autocast():
            h = run(x, tuple(state_leaves))
        h.backward(dh.to(h.dtype))
        gradients = [leaf.grad for leaf in leaves]
        dstates, dweights = gradients[: len(states)], gradients[len(states) :]
        return h, *(d[0] for d in dstates), *gradients_of_torch(problem, tuple(dweights))

    def train() -> tuple[torch.Tensor, ...]:
        x_leaf.grad = None
        h, *gradients = train_on_data(x_leaf)
        return h, x_leaf.grad, *gradients

    calls: dict[str, Call] = {"forward": forward, "train": train, "train on data": train_on_data}
    if bfloat16 and not _computes(forward):
        calls = {}
    return Built({**calls, **rate} if case.ragged else {"step": step, **calls, **rate})


def _computes(forward: Call) -> bool:
    """False if it is PyTorch's LSTM, on a CPU for which it has none in bfloat16."""
    try:
        forward()
    except RuntimeError as error:
        from xrnn.torch.bfloat16 import lacks_lstm

        if not lacks_lstm(error):
            raise
        return False
    return True
