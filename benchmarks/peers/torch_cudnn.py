"""torch.nn.RNN on the GPU, which runs cuDNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.cases import Problem
from benchmarks.peers import Built, torch_rnn


def about() -> dict[str, str]:
    return {"torch": torch.__version__, "cuDNN": str(torch.backends.cudnn.version())}


def build(problem: Problem, threads: int) -> Built:
    return torch_rnn.build(problem, threads, device="cuda")


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """A block in which cuDNN and cuBLAS may, or must not, round float32 factors to TF32."""
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = allowed
    try:
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
