"""The recurrence written by hand in NumPy with care: see `loops/`."""

from __future__ import annotations

import importlib
from typing import Final

import numpy as np

from benchmarks.cases import Problem, square
from benchmarks.peers import Built, Call
from xrnn.typing import HostArray

_CELLS: Final = ("rnn", "lstm", "gru", "leak")  # those with a file in `loops/`


def about() -> dict[str, str]:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"numpy": np.__version__, "BLAS": f"{blas['name']} {blas['version']}"}


def build(problem: Problem, threads: int) -> Built:
    left, right = square()
    product = np.empty_like(left)
    rate: dict[str, Call] = {"product": lambda: np.matmul(left, right, out=product)}
    if problem.case.ragged or problem.case.cell not in _CELLS:
        return Built(rate)
    loop = importlib.import_module(f"benchmarks.peers.loops.{problem.case.cell}")
    x, states, weights = problem.x, problem.states, problem.weights
    Wx, Wh, *_ = weights

    def train() -> tuple[HostArray, ...]:
        hs, kept = loop.forward(x, *states, *weights)
        return hs[1:], *loop.backward(problem.dh, hs, kept, x, Wx, Wh)

    return Built(
        {
            "step": lambda: loop.forward(x[:1], *states, *weights)[0][1],
            "forward": lambda: loop.forward(x, *states, *weights)[0][1:],
            "train": train,
            **rate,
        }
    )
