"""xrnn's weights as the other libraries lay them out, and PyTorch's gradients as xrnn does.

xrnn has Wx (D, G·H), Wh (H, G·H), gates in the order i f g o (LSTM) and r z n (GRU), and one bias: b (G·H,), for GRU
(4H,): b_r, b_z, b_n and that of the recurrent part of n. PyTorch and ONNX have the transposes, and a bias for each of
the two products, of which ours is the first, save for the last quarter of GRU's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from benchmarks.cases import Problem
from xrnn.typing import HostArray

# By cell, where ONNX's gates are among ours: i o f c, and z r h.
_ONNX_ORDER: Final = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def _two_biases(problem: Problem) -> tuple[HostArray, HostArray]:
    """The bias of the input's product and that of the state's, (G·H,) each."""
    H = problem.case.H
    if problem.case.cell != "gru":
        return problem.b, np.zeros_like(problem.b)
    return problem.b[: 3 * H], np.concatenate([np.zeros(2 * H, np.float32), problem.b[3 * H :]])


def for_torch(problem: Problem) -> list[HostArray]:
    """weight_ih (G·H, D), weight_hh (G·H, H), bias_ih, bias_hh (G·H,), in the order of a module's parameters."""
    return [problem.Wx.T.copy(), problem.Wh.T.copy(), *_two_biases(problem)]


def of_torch(cell: str, parameters: Sequence[HostArray]) -> tuple[HostArray, HostArray, HostArray]:
    """A module's parameters, in their order → Wx, Wh, b. Where two biases are added, their sum."""
    weight_ih, weight_hh, bias_ih, bias_hh = parameters
    H = weight_hh.shape[1]
    if cell != "gru":
        return weight_ih.T, weight_hh.T, bias_ih + bias_hh
    gates = bias_ih[: 2 * H] + bias_hh[: 2 * H]
    return weight_ih.T, weight_hh.T, np.concatenate([gates, bias_ih[2 * H :], bias_hh[2 * H :]])


def gradients_of_torch(problem: Problem, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of those four, tensors → dWx, dWh, db."""
    import torch  # here: ONNX Runtime's weights need none of it

    dWx, dWh, db_ih, db_hh = gradients
    db = torch.cat([db_ih, db_hh[2 * problem.case.H :]]) if problem.case.cell == "gru" else db_ih
    return dWx.T, dWh.T, db


def for_onnx(problem: Problem) -> dict[str, HostArray]:
    """W (1, G·H, D), R (1, G·H, H), B (1, 2·G·H)."""
    H, order = problem.case.H, _ONNX_ORDER[problem.case.cell]

    def ordered(by_gate: HostArray) -> HostArray:
        return np.concatenate([by_gate[gate * H : (gate + 1) * H] for gate in order])

    W, R, *biases = (ordered(a) for a in (problem.Wx.T, problem.Wh.T, *_two_biases(problem)))
    return {"W": W[None], "R": R[None], "B": np.concatenate(biases)[None]}
