"""The time of one LSTM step with weights of 8 bits, at N = 1: part of `python -m benchmarks.step --int8 256,1024`.

ONNX Runtime's operator DynamicQuantizeLSTM gets the same integers, and must give the same h up to its own rounding.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from rich.console import Console

import xrnn
from benchmarks import machine
from benchmarks.processes import Child, environment
from benchmarks.tables import table
from xrnn.typing import HostArray

_CALLS = 200  # in a round
_ONNX = "ONNX Runtime, DynamicQuantizeLSTM"


def measure_int8(sizes: Sequence[int], rounds: int, threads: int) -> dict[str, Any]:
    """The results, as written to the JSON file. `int8` has the microseconds of a step by size, library and round.

    Each library and size has its own process: the threads of the one before would still poll.
    """
    libraries = ["xrnn, float32", "xrnn, int8"]
    if find_spec("onnxruntime"):
        libraries.append(_ONNX)
    rows = []
    for size in sizes:
        times = {}
        for library in libraries:
            with Child(_Step, library, size, threads, environment=environment(threads)) as child:
                times[library] = [child.ask("time") for _ in range(rounds + 1)][1:]
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


class _Step:
    """The step of one library, in a child process."""

    def __init__(self, library: str, size: int, threads: int) -> None:
        layer = xrnn.LSTM.init(size, size, rng=0, backend="numpy")
        small = xrnn.quantize(layer)
        x = np.random.default_rng(0).standard_normal((1, size)).astype(np.float32)
        self._step = (
            _onnx(small, x, threads) if library == _ONNX else _stream(layer if "float" in library else small, x)
        )
        np.testing.assert_allclose(self._step(), layer(x)[0], rtol=0, atol=0.05)

    def time(self) -> float:
        """Microseconds."""
        start = time.perf_counter()
        for _ in range(_CALLS):
            self._step()
        return (time.perf_counter() - start) / _CALLS * 1e6


def _stream(layer: Any, x: HostArray) -> Callable[[], HostArray]:
    state = tuple(np.zeros((1, layer.hidden_size), np.float32) for _ in range(2))
    return lambda: layer.stream(x, state)[0]


def _onnx(small: xrnn.LSTM, x: HostArray, threads: int) -> Callable[[], HostArray]:
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
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {"x": x[None], "h_prev": np.zeros((1, 1, H), np.float32), "c_prev": np.zeros((1, 1, H), np.float32)}

    def step() -> HostArray:
        h, _ = session.run(["h", "c"], given)
        return h[0]

    return step
