"""The recurrent layers; XRNN_FUSED decides between its fused forms and the plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import xrnn
from benchmarks.cases import Problem
from benchmarks.peers import Built


def about() -> dict[str, str]:
    return {"xrnn": xrnn.__version__, **xrnn.get_backend("numpy").describe()}


def build(problem: Problem, threads: int) -> Built:
    x, states, dh = problem.x, problem.states, problem.dh
    layer: Any = getattr(xrnn, problem.case.cell.upper())(*problem.weights)
    # LSTM returns h and c.
    only_h: Callable[[Any], Any] = (lambda result: result[0]) if len(states) > 1 else (lambda result: result)

    def train() -> tuple[object, ...]:
        h = only_h(layer.forward(x, *states))
        return h, *layer.backward(dh), *layer.grads

    def allocation() -> object:
        return np.empty((2, *states[0].shape), x.dtype)[1]

    sizes = {letter: getattr(problem.case, letter) for letter in "TNDH"}
    forms = {
        operation: layer.backend.explain(operation, layer.cell, sizes, x.dtype).form
        for operation in ("recurrence_forward", "recurrence_backward")
    }
    return Built(
        {
            "step": lambda: only_h(layer(x[0], *states)),
            "stream": lambda: layer.stream(x[0], states)[0],
            "forward": lambda: only_h(layer(x, *states)),
            "train": train,
            # Parts of a step, for benchmarks/step.py.
            "checks": lambda: layer._check_input(x[0], states),
            "allocation": allocation,
        },
        form="/".join(dict.fromkeys(forms.values())) if xrnn.backend.fused_enabled() else "plain",
    )
