"""The recurrent layers. XRNN_FUSED selects the fused forms or the plain form."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import xrnn
from benchmarks.cases import LAYERS, Problem
from benchmarks.peers import Built, Call
from xrnn.info import describe, explain


def about() -> dict[str, str]:
    return {"xrnn": xrnn.__version__, **describe(xrnn.get_backend("numpy"))}


def layer_of(problem: Problem) -> Any:
    """The problem's layer, on its backend, with its parameters in memory as `init` places them."""
    return LAYERS[problem.case.cell](*map(problem.backend.parameter, problem.weights))


def sequence(problem: Problem, layer: Any) -> dict[str, Call]:
    """The calls of a sequence, with operands on the problem's backend."""
    x, dh, *states = map(problem.backend.asarray, (problem.x, problem.dh, *problem.states))
    lengths = None if problem.lengths is None else problem.backend.asarray(problem.lengths)

    def train(needs_dx: bool = True) -> tuple[object, ...]:
        h = _only_h(layer.forward(x, *states, lengths=lengths))
        dx, *dstates = layer.backward(dh, needs_dx=needs_dx)
        return h, *([dx] if needs_dx else []), *dstates, *layer.grads

    return {
        "forward": lambda: _only_h(layer(x, *states, lengths=lengths)),
        "train": train,
        "train on data": partial(train, needs_dx=False),
    }


def _only_h(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result  # LSTM returns h and c


def build(problem: Problem, threads: int, frozen: bool = False) -> Built:
    x = problem.x
    states = problem.states
    layer = layer_of(problem)
    if frozen:
        layer = xrnn.freeze(layer)
    calls = sequence(problem, layer)
    if frozen:  # for inference
        calls = {"forward": calls["forward"]}
    elif problem.case.base:
        base = Problem(problem.case.base)
        calls |= {f"base {name}": call for name, call in sequence(base, layer_of(base)).items()}
    if not problem.case.ragged:
        calls["step"] = lambda: _only_h(layer(x[0], *states))
        calls["stream"] = lambda: layer.stream(x[0], states)[0]

    def allocation() -> object:
        return [np.empty((2, *state.shape), x.dtype) for state in states]

    sizes = {letter: getattr(problem.case, letter) for letter in "TNDH"}
    explanations = (
        explain(layer.backend, operation, layer.cell, sizes, x.dtype)
        for operation in ("recurrence_forward", "recurrence_backward")
    )
    forms = [e.form + (" by tiles" if "by amx" in e.why else "") for e in explanations]
    return Built(
        {
            **calls,
            "allocation": allocation,  # a part of a step, for benchmarks/step.py
        },
        form="/".join(dict.fromkeys(forms)) if xrnn.backend.fused_forms().enabled else "plain",
    )
