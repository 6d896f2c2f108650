"""reservoirpy's Reservoir with the same dense weights: one sequence at a time, inference only."""

from __future__ import annotations

import numpy as np
import reservoirpy
from reservoirpy.nodes import Reservoir

from benchmarks.cases import LEAK, Problem
from benchmarks.peers import Built
from xrnn.typing import HostArray


def about() -> dict[str, str]:
    return {"reservoirpy": reservoirpy.__version__}


def build(problem: Problem, threads: int) -> Built:
    if problem.case.cell != "leak" or problem.case.N != 1:
        return Built({})
    Wx, Wh, b = problem.weights
    x = problem.x[:, 0]
    node = Reservoir(W=Wh.T.copy(), Win=Wx.T.copy(), bias=b, lr=LEAK, dtype=np.float32)
    node.initialize(x)

    def run(x: HostArray) -> HostArray:
        node.state = {"out": problem.h_prev[0]}
        # The states are computed in float32 and collected in float64.
        return np.asarray(node.run(x), np.float32)

    return Built({"step": lambda: run(x[:1]), "forward": lambda: run(x)[:, None]})
