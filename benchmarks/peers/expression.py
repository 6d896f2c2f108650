"""One step of an RNN as the bare expression. The rest of a layer's time is its overhead."""

from __future__ import annotations

import numpy as np

from benchmarks.cases import Problem
from benchmarks.peers import Built


def about() -> dict[str, str]:
    return {"numpy": np.__version__}


def build(problem: Problem, threads: int) -> Built:
    if problem.case.cell != "rnn" or problem.case.ragged:
        return Built({})
    x, h, Wx, Wh, b = problem.x[0], problem.h_prev, problem.Wx, problem.Wh, problem.b
    return Built({"step": lambda: np.tanh(x @ Wx + h @ Wh + b)})
