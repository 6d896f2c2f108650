"""Makes and runs ONNX models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime


def run(model: Any, **inputs: Any) -> list[Any]:
    """The outputs of ONNX Runtime. Inputs that are not named take their order."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return list(session.run(None, inputs))


def graph_of(*nodes: Any, inputs: Any, outputs: Any = ("Y",), constants: Any = None, opset: int = 17) -> Any:
    """A model.   inputs: shapes by name, of float32; with a dtype (shape, dtype)"""
    helper, values = onnx.helper, []
    for name, shape in inputs.items():
        shape, dtype = (
            shape if isinstance(shape, tuple) and shape and isinstance(shape[0], list) else (shape, "float32")
        )
        values.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape))
    results = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    stored = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", values, results, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
