"""Damaged ONNX models and state dicts. They have no digest, so a changed file may be a valid one."""

from __future__ import annotations

import io
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch

from tests.fuzz_files.damage import bytes_changed, cut
from xrnn import GRU, LSTM, Bidirectional, Embedding, Linear, Stack, from_onnx, to_onnx
from xrnn.exchange.torch_state import read_state
from xrnn.files import FileError

_NUMBERS: Final = [0, 1, -1, 2, 3, 7, 2**20, 2**31, 2**40, 2**62, -(2**63)]
_ATTRIBUTES: Final = [
    "axis",
    "axes",
    "perm",
    "to",
    "clip",
    "layout",
    "direction",
    "hidden_size",
    "num_outputs",
    "value",
]
_OPERATORS: Final = [
    *("RNN", "LSTM", "GRU", "Transpose", "Squeeze", "Reshape", "Concat", "Slice", "Expand", "Tile", "Gather", "Where"),
    *("ConstantOfShape", "Range", "Split", "Cast", "Shape", "Relu", "Loop", "MatMul", "Gemm", "Add", "Constant", "x"),
]


# ---- ONNX models ----


def onnx_model(rng: random.Random) -> Any:
    options: Any = {"rng": 0, "backend": "numpy"}
    kinds: list[Any] = [
        lambda: to_onnx(Stack.init(LSTM, 2, 3, 2, **options), lengths=True, states=True),
        lambda: to_onnx(
            [Embedding.init(5, 2, **options), Bidirectional.init(GRU, 2, 3, **options), Linear.init(6, 2, **options)]
        ),
        lambda: onnx.load(Path(__file__).parents[1] / "exchange" / "tf2onnx_lstm.onnx"),
    ]
    return rng.choice(kinds)()


def change_onnx(model: Any, rng: random.Random) -> None:
    """Change a node, an attribute, a tensor, an input or the operator set."""
    graph, nodes = model.graph, model.graph.node
    node, tensor = rng.choice(nodes), rng.choice(graph.initializer)
    names = [name for each in nodes for name in (*each.input, *each.output)]

    def other_operator() -> None:
        node.op_type = rng.choice(_OPERATORS)

    def other_name() -> None:
        target = rng.choice([each for each in (node.input, node.output) if len(each)])
        target[rng.randrange(len(target))] = rng.choice(["", "\x1b[2J", "x" * 10_000, *names])

    def other_attribute() -> None:
        if node.attribute and rng.random() < 0.7:
            attribute = rng.choice(node.attribute)
            attribute.i = rng.choice(_NUMBERS)
            if attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_NUMBERS)
        else:
            name, values = rng.choice(_ATTRIBUTES), [3, 2**40, [1, 0], [2**40], 0.5, "both"]
            node.attribute.append(onnx.helper.make_attribute(name, rng.choice(values)))

    def other_tensor() -> None:
        way = rng.randrange(4)
        if way == 0 and tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_NUMBERS)
        elif way == 1:
            tensor.data_type = rng.randrange(24)
        elif way == 2:
            tensor.raw_data = bytes_changed(tensor.raw_data, rng, len(tensor.raw_data))
        else:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = onnx.StringStringEntryProto(key="location", value=rng.choice(["../x", "x", "/etc/passwd"]))
            tensor.external_data.append(place)

    def other_input() -> None:
        value = rng.choice(graph.input)
        for dim in value.type.tensor_type.shape.dim[: rng.randint(0, 3)]:
            dim.dim_value = rng.choice(_NUMBERS)

    def other_order() -> None:
        moved = onnx.NodeProto.FromString(node.SerializeToString())
        nodes.remove(node)
        if rng.random() < 0.6:
            nodes.insert(rng.randint(0, len(nodes)), moved)

    def other_integers() -> None:
        shapes = [each for each in graph.initializer if each.data_type == onnx.TensorProto.INT64]
        if shapes:
            each = rng.choice(shapes)
            count = max(1, len(each.raw_data) // 8)
            each.raw_data = np.array([rng.choice(_NUMBERS) for _ in range(count)], "<i8").tobytes()

    def other_opset() -> None:
        model.opset_import[0].version = rng.choice(_NUMBERS)

    changes = [other_operator, other_name, other_attribute, other_attribute, other_tensor, other_input]
    rng.choice([*changes, other_order, other_integers, other_opset])()


def onnx_file(rng: random.Random) -> bytes:
    model = onnx_model(rng)
    if rng.random() < 0.3:
        content = model.SerializeToString()
        return bytes_changed(content, rng, len(content)) if rng.random() < 0.5 else cut(content, rng)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if model.graph.node:
            change_onnx(model, rng)
    return bytes(model.SerializeToString())


# ---- state dicts ----


def state_of(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice([torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
    return dict(kind(2, 3, rng.choice([1, 2]), bidirectional=rng.random() < 0.5).state_dict())


def saved(state: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def state_file(rng: random.Random) -> bytes:
    state = state_of(rng)
    if rng.random() < 0.4:
        whole = saved(state)
        return bytes_changed(whole, rng, len(whole)) if rng.random() < 0.5 else cut(whole, rng)
    name = rng.choice(list(state))
    value = state.pop(name)
    shape = [rng.choice([0, 1, 3, 9, 64]) for _ in range(rng.choice([0, 1, 2, 2, 3]))]
    huge = torch.zeros(1).expand(2**20, 2**20)  # one element in the file
    others: list[Any] = [value.half(), value.double(), torch.zeros(shape), value.to_sparse(), huge, value.int()]
    names = [name, name, name, name[:-1], f"{name}_reverse", "\x1b[2J", "weight_ih_l99"]
    state[rng.choice(names)] = rng.choice([value, *others, 3, "text", None, [value]])
    return saved(state)


# ---- as `__main__` runs them ----


@dataclass(frozen=True)
class Subject:
    whole: Any
    file: Any
    read: Any
    Refusal: type[FileError] = FileError
    allowance: int = 120 * 2**20  # bytes: a few arrays of the largest size that a graph may compute

    def draw(self, rng: random.Random) -> tuple[str, bytes, None]:
        return "changed", self.file(rng), None

    def load(self, path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NaN
            return self.read(path, backend="numpy")


KINDS: Final = {
    "onnx": Subject(lambda rng: onnx_model(rng).SerializeToString(), onnx_file, from_onnx),
    "pt": Subject(lambda rng: saved(state_of(rng)), state_file, read_state),
}
