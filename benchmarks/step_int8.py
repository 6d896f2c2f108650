"""The time of one LSTM step with weights of 8 bits, at N = 1: part of `python -m benchmarks.step --int8 256,1024`.

ONNX Runtime's operator DynamicQuantizeLSTM gets the same integers, and must give the same h up to its own rounding.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from rich.console import Console

import xrnn
from benchmarks import machine
from benchmarks.tables import table
from xrnn.typing import HostArray

_CALLS = 50  # in a round


def measure_int8(sizes: Sequence[int], rounds: int, threads: int) -> dict[str, Any]:
    """For each size (D = H): microseconds of a step by library, one a round.

    One library after the other: ONNX Runtime's threads poll for some time after a call, and would take a CPU from the
    next library. They end with their session.
    """
    rows = []
    for size in sizes:
        layer = xrnn.LSTM.init(size, size, rng=0, backend="numpy")
        small = xrnn.quantize(layer)
        x = np.random.default_rng(0).standard_normal((1, size)).astype(np.float32)
        makers: dict[str, Callable[[], Callable[[], HostArray]]] = {
            "xrnn, float32": partial(_stream, layer, x),
            "xrnn, int8": partial(_stream, small, x),
        }
        if find_spec("onnxruntime"):
            makers["ONNX Runtime, DynamicQuantizeLSTM"] = partial(_onnx, small, x, threads)
        expected, times = layer(x)[0], dict[str, list[float]]()
        for name, make in makers.items():
            step = make()
            np.testing.assert_allclose(step(), expected, rtol=0, atol=0.05)
            times[name] = [_time(step) for _ in range(rounds + 1)][1:]
            del step
        rows.append({"size": size, "microseconds": times})
    return {
        "machine": machine.describe(threads),
        "versions": {name: version(name) for name in ("numpy", "onnxruntime") if find_spec(name)},
        "rounds": rounds,
        "int8": rows,
    }


def print_int8(results: dict[str, Any], console: Console) -> None:
    lines = []
    for row in results["int8"]:
        ours = statistics.median(row["microseconds"]["xrnn, int8"])
        for name, times in row["microseconds"].items():
            median = statistics.median(times)
            lines.append([str(row["size"]), name, f"{median:.1f}", f"{median / ours:.2f}"])
    columns = ["D=H", "library", "microseconds", "its time / xrnn, int8"]
    console.print(table("LSTM, one step, N=1, D=H", columns, lines, left=2))


def _time(step: Callable[[], HostArray]) -> float:
    start = time.perf_counter()
    for _ in range(_CALLS):
        step()
    return (time.perf_counter() - start) / _CALLS * 1e6


def _stream(layer: Any, x: HostArray) -> Callable[[], HostArray]:
    state = tuple(np.zeros((1, layer.hidden_size), np.float32) for _ in range(2))
    return lambda: layer.stream(x, state)[0]


def _onnx(small: xrnn.Quantized, x: HostArray, threads: int) -> Callable[[], HostArray]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    D, H, arrays = small.input_size, small.hidden_size, small.named_params
    order = np.concatenate([np.arange(H) + gate * H for gate in (0, 3, 1, 2)])  # of ONNX: i o f g
    zeros = np.zeros((1, 4 * H), np.int8)
    constants = {
        "W": arrays["Wx"][None, :, order],
        "R": arrays["Wh"][None, :, order],
        "B": np.concatenate([arrays["b"][order], np.zeros(4 * H, np.float32)])[None],
        "W_scale": arrays["Wx_scale"][None, order],
        "W_zero": zeros,
        "R_scale": arrays["Wh_scale"][None, order],
        "R_zero": zeros,
    }
    inputs = ["x", "W", "R", "B", "", "h_prev", "c_prev", "", "W_scale", "W_zero", "R_scale", "R_zero"]
    node = helper.make_node("DynamicQuantizeLSTM", inputs, ["", "h", "c"], domain="com.microsoft", hidden_size=H)
    graph = helper.make_graph(
        [node],
        "step",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, D))]
        + [helper.make_tensor_value_info(f"{state}_prev", TensorProto.FLOAT, (1, 1, H)) for state in "hc"],
        [helper.make_tensor_value_info(state, TensorProto.FLOAT, (1, 1, H)) for state in "hc"],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {"x": x[None], "h_prev": np.zeros((1, 1, H), np.float32), "c_prev": np.zeros((1, 1, H), np.float32)}

    def step() -> HostArray:
        h, _ = session.run(["h", "c"], given)
        result: HostArray = h[0]
        return result

    return step
