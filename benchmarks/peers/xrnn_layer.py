"""The RNN layer; XRNN_FUSED decides between its fused forms and the plain one."""

from __future__ import annotations

import numpy as np

import xrnn
from benchmarks.cases import Problem
from benchmarks.peers import Built


def about() -> dict[str, str]:
    return {"xrnn": xrnn.__version__, **xrnn.get_backend("numpy").describe()}


def build(problem: Problem, threads: int) -> Built:
    x, h_prev, dh = problem.x, problem.h_prev, problem.dh
    rnn = xrnn.RNN(problem.Wx, problem.Wh, problem.b)

    def train() -> tuple[object, ...]:
        h = rnn.forward(x, h_prev)
        return h, *rnn.backward(dh), *rnn.grads

    def allocation() -> object:
        return np.empty((2, *h_prev.shape), x.dtype)[1]

    sizes = {letter: getattr(problem.case, letter) for letter in "TNDH"}
    forms = {
        operation: rnn.backend.explain(operation, rnn.cell, sizes, x.dtype).form
        for operation in ("recurrence_forward", "recurrence_backward")
    }
    return Built(
        {
            "step": lambda: rnn(x[0], h_prev),
            "forward": lambda: rnn(x, h_prev),
            "train": train,
            # Parts of a step, for benchmarks/step.py.
            "checks": lambda: rnn._check_input(x[0], (h_prev,)),
            "allocation": allocation,
        },
        form="/".join(dict.fromkeys(forms.values())) if xrnn.backend.fused_enabled() else "plain",
    )
