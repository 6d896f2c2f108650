"""Runs ONNX models, and layers on the same inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime

from xrnn import Stack


def run(model: Any, **inputs: Any) -> list[Any]:
    """The outputs of ONNX Runtime. Inputs that are not named take their order."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return list(session.run(None, inputs))


def leaves(layer: Any) -> list[Any]:
    """The layers of one direction, in their order."""
    return [leaf for part in layer.layers for leaf in leaves(part)] if hasattr(layer, "layers") else [layer]


def nested(layer: Any, states: list[Any]) -> Any:
    """States, taken from the front of the list, in the form that the layer expects."""
    if hasattr(layer, "layers"):
        return tuple(nested(part, states) for part in layer.layers)
    return tuple(states.pop(0) for _ in layer.cell.states) if hasattr(layer, "cell") else ()


def flat(states: Any) -> list[Any]:
    return [each for state in states for each in flat(state)] if isinstance(states, tuple) else [states]


def drawn(layer: Any, seed: int = 7) -> Any:
    """The layer with random weights, biases too."""
    rng = np.random.default_rng(seed)
    for param in layer.params:
        param[...] = rng.standard_normal(param.shape) * 0.5
    return layer


def results(layer: Any, x: Any, lengths: Any = None, states: Any = None) -> tuple[Any, list[Any]]:
    """h and the final states of any recurrent layer."""
    composite = layer if hasattr(layer, "layers") else Stack([layer])
    given = None if states is None else nested(composite, [*states])
    h, final = composite(np.ascontiguousarray(x), given, lengths=lengths)
    return h, flat(final)


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
