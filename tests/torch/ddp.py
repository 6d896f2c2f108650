"""Run by torchrun: trains with DistributedDataParallel, with and without `accelerate`, and compares.

torchrun --standalone --nproc-per-node 2 -m tests.torch.ddp
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import xrnn.torch

_UPDATES = 4


@dataclass(frozen=True)
class Case:
    """unused: leave a layer out in some forward passes; late: accelerate after DistributedDataParallel is made"""

    cell: str
    option: str = ""  # of DistributedDataParallel
    unused: bool = False
    late: bool = False


CASES = [
    *[Case(cell) for cell in ("RNN", "LSTM", "GRU")],
    *[Case(cell, "static_graph") for cell in ("RNN", "LSTM", "GRU")],
    Case("GRU", "find_unused_parameters", unused=True),
    Case("LSTM", "find_unused_parameters", unused=True, late=True),
    Case("GRU", "gradient_as_bucket_view", late=True),
]


class Model(nn.Module):
    def __init__(self, cell: str) -> None:
        super().__init__()
        self.first = getattr(nn, cell)(5, 8, num_layers=2, bidirectional=True)
        self.second = getattr(nn, cell)(16, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor, with_second: bool) -> torch.Tensor:
        h, _ = self.first(x)
        if with_second:
            h, _ = self.second(h)
        return self.out(h[-1])


def train(case: Case, accelerated: bool, rank: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = Model(case.cell)
    if accelerated and not case.late:
        assert xrnn.torch.accelerate(model) == {"first": "kernels", "second": "kernels"}
    parallel = DistributedDataParallel(model, **{case.option: True} if case.option else {})
    if accelerated and case.late:
        xrnn.torch.accelerate(parallel)
    if accelerated:
        assert set(xrnn.torch.explain(parallel).values()) == {"kernels"}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(1 + rank)
    results: list[Any] = []
    for update in range(_UPDATES):
        x, y = torch.randn(7, 3, 5), torch.randint(0, 3, (3,))
        loss = nn.functional.cross_entropy(parallel(x, not case.unused or update % 2 == 0), y)
        optimizer.zero_grad()
        loss.backward()
        results += [loss.detach(), *[p.grad.clone() for p in model.parameters() if p.grad is not None]]
        optimizer.step()
        results += [p.detach().clone() for p in model.parameters()]
    return results


def main() -> None:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    for case in CASES:
        ours, theirs = train(case, True, rank), train(case, False, rank)
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-6)
        if rank == 0:
            print(f"{case}: equal")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
