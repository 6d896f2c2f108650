"""ONNX Runtime's RNN operator, inference only: the weights are constants of the model, as in an exported one."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cases import Array, Problem
from benchmarks.peers import Built


def about() -> dict[str, str]:
    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}


def _session(problem: Problem, T: int, threads: int) -> onnxruntime.InferenceSession:
    N, D, H = problem.case.N, problem.case.D, problem.case.H
    constants = {
        "W": problem.Wx.T[None],
        "R": problem.Wh.T[None],
        "B": np.concatenate([problem.b, np.zeros_like(problem.b)])[None],
    }
    node = helper.make_node(
        "RNN", ["x", "W", "R", "B", "", "h_prev"], ["h"], hidden_size=H, activations=["Tanh"], direction="forward"
    )
    graph = helper.make_graph(
        [node],
        "rnn",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (T, N, D)),
            helper.make_tensor_value_info("h_prev", TensorProto.FLOAT, (1, N, H)),
        ],
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, (T, 1, N, H))],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def build(problem: Problem, threads: int) -> Built:
    x, h_prev = problem.x, problem.h_prev[None]
    whole, one = _session(problem, len(x), threads), _session(problem, 1, threads)

    def step() -> Array:
        (h,) = one.run(["h"], {"x": x[:1], "h_prev": h_prev})
        result: Array = h[0, 0]
        return result

    def forward() -> Array:
        (h,) = whole.run(["h"], {"x": x, "h_prev": h_prev})
        result: Array = h[:, 0]
        return result

    return Built({"step": step, "forward": forward})
