"""xrnn's weights in the layouts of the other libraries, and PyTorch's gradients in xrnn's layout.

`xrnn.exchange.torch_weights` defines PyTorch's layout. ONNX has the same arrays with another order of the gates.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.cases import Problem
from xrnn.cells import cell_of
from xrnn.exchange.torch_weights import TorchWeights, to_torch
from xrnn.typing import HostArray

# The positions of ONNX's gates among xrnn's: i o f c for LSTM, z r h for GRU.
_ONNX_ORDER: Final = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def for_torch(problem: Problem) -> TorchWeights:
    """weight_ih (G·H, D), weight_hh (G·H, H), bias_ih, bias_hh (G·H,), in the order of a module's parameters."""
    return to_torch(np, cell_of(problem.case.cell), *problem.weights)


def gradients_of_torch(problem: Problem, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of those four, tensors → dWx, dWh, db."""
    import torch  # imported here: ONNX Runtime's weights do not need it

    dWx, dWh, db_ih, db_hh = gradients
    db = torch.cat([db_ih, db_hh[2 * problem.case.H :]]) if problem.case.cell == "gru" else db_ih
    return dWx.T, dWh.T, db


def for_onnx(problem: Problem) -> dict[str, HostArray]:
    """W (1, G·H, D), R (1, G·H, H), B (1, 2·G·H)."""
    H = problem.case.H
    order = _ONNX_ORDER[problem.case.cell]

    def ordered(by_gate: HostArray) -> HostArray:
        return np.concatenate([by_gate[gate * H : (gate + 1) * H] for gate in order])

    W, R, *biases = (ordered(a) for a in for_torch(problem))
    return {"W": W[None], "R": R[None], "B": np.concatenate(biases)[None]}
