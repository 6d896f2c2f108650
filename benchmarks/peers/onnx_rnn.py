"""ONNX Runtime's RNN, LSTM and GRU operators, inference only: the weights are constants, as in an exported model."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cases import Problem
from benchmarks.peers import Built
from benchmarks.peers.weights import for_onnx
from xrnn.typing import HostArray

_STATES: Final = ("h_prev", "c_prev")


def about() -> dict[str, str]:
    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}


# For the same result as the other libraries: by default GRU applies its reset gate before the product.
_ATTRIBUTES: Final[dict[str, dict[str, Any]]] = {
    "rnn": {"activations": ["Tanh"]},
    "lstm": {},
    "gru": {"linear_before_reset": 1},
}


def _session(problem: Problem, threads: int) -> onnxruntime.InferenceSession:
    """A session for any number of steps. A second one would have threads of its own, which poll beside the first's."""
    case = problem.case
    N, D, H = case.N, case.D, case.H
    states = _STATES[: len(problem.states)]
    inputs = ["x", "W", "R", "B", "lengths" if case.ragged else "", *states]
    attributes = {"hidden_size": H, "direction": "forward", **_ATTRIBUTES[case.cell]}
    node = helper.make_node(case.cell.upper(), inputs, ["h"], **attributes)
    graph = helper.make_graph(
        [node],
        case.cell,
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ("T", N, D)),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, N, H)) for name in states),
            *([helper.make_tensor_value_info("lengths", TensorProto.INT32, (N,))] if case.ragged else []),
        ],
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, ("T", 1, N, H))],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in for_onnx(problem).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def build(problem: Problem, threads: int) -> Built:
    if problem.case.cell not in _ATTRIBUTES:
        return Built({})
    x = problem.x
    states = dict(zip(_STATES, (state[None] for state in problem.states), strict=False))
    session = _session(problem, threads)
    if problem.lengths is not None:
        states["lengths"] = problem.lengths.astype(np.int32)

    def forward() -> HostArray:
        (h,) = session.run(["h"], {"x": x, **states})
        return h[:, 0]

    if problem.case.ragged:
        return Built({"forward": forward})

    def step() -> HostArray:
        (h,) = session.run(["h"], {"x": x[:1], **states})
        return h[0, 0]

    return Built({"step": step, "forward": forward})
