"""Damaged ONNX models. They have no digest, so a changed file may be a valid one."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from tests.fuzz_files.damage import bytes_changed, cut
from xrnn import GRU, LSTM, RNN, Bidirectional, Embedding, Linear, Stack, from_onnx, to_onnx
from xrnn.files import FileError

_NUMBERS: Final = [0, 1, -1, 2, 3, 7, 2**20, 2**31 - 1, 2**40, 2**62, -(2**63)]
_TEXTS: Final = [
    *("RNN", "LSTM", "GRU", "Transpose", "Squeeze", "Reshape", "Concat", "Slice", "Expand", "Tile", "Gather", "Where"),
    *("ConstantOfShape", "Range", "Split", "Cast", "Shape", "Relu", "Loop", "MatMul", "Gemm", "Add", "Constant", "x"),
    *("axis", "axes", "perm", "to", "clip", "layout", "direction", "hidden_size", "num_outputs", "both", "", "\x1b[2J"),
    *("x" * 10_000, "../x", "/etc/passwd"),
]


# ---- ONNX models ----


def onnx_model(rng: random.Random) -> Any:
    options: Any = {"rng": 0, "backend": "numpy"}
    kinds: list[Any] = [
        lambda: to_onnx(Stack.init(LSTM, 2, 3, 2, **options), lengths=True, states=True),
        lambda: to_onnx([Embedding.init(5, 2, **options), Bidirectional.init(GRU, 2, 3, **options)]),
        lambda: to_onnx([RNN.init(2, 3, **options), Linear.init(3, 2, **options)]),
        lambda: onnx.load(Path(__file__).parents[1] / "exchange" / "tf2onnx_lstm.onnx"),
    ]
    return rng.choice(kinds)()


def fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """Each field that is set, with its message, at any depth."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type:
            for inner in value if isinstance(value, Sequence) else [value]:
                yield from fields(inner)


def other_value(field: Any, value: Any, texts: list[str], rng: random.Random) -> Any:
    if isinstance(value, bytes):
        numbers = np.array([rng.choice(_NUMBERS) for _ in range(len(value) // 8)], "<i8").tobytes()
        return rng.choice([bytes_changed(value, rng, len(value)) if value else b"x", numbers])
    if isinstance(value, str):
        return rng.choice(texts)
    if field.enum_type:
        return rng.choice(field.enum_type.values).number
    if isinstance(value, float):
        return 0.5
    return rng.choice(_NUMBERS if field.cpp_type == field.CPPTYPE_INT64 else _NUMBERS[:8])


def change_onnx(model: Any, rng: random.Random) -> None:
    """Change a value: of a node, an attribute, a tensor, an input, or the operator set; or the order of such parts."""
    texts = [*_TEXTS, *(name for node in model.graph.node for name in (*node.input, *node.output))]
    message, field = rng.choice([*fields(model)])
    value: Any = getattr(message, field.name)
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not several:
        if field.message_type:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, other_value(field, value, texts, rng))
        return
    i = rng.randrange(len(value))
    if field.message_type or rng.random() < 0.2:
        moved = copy.deepcopy(value[i])
        del value[i]
        if rng.random() < 0.6:
            value.insert(rng.randint(0, len(value)), moved)
    else:
        value[i] = other_value(field, value[i], texts, rng)


def onnx_file(rng: random.Random) -> bytes:
    model = onnx_model(rng)
    if rng.random() < 0.3:
        content = model.SerializeToString()
        return bytes_changed(content, rng, len(content)) if rng.random() < 0.5 else cut(content, rng)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if model.graph.node:
            change_onnx(model, rng)
    return bytes(model.SerializeToString())


# ---- as for the files of xrnn ----


@dataclass(frozen=True)
class Subject:
    whole: Callable[[random.Random], bytes]
    file: Callable[[random.Random], bytes]
    load: Callable[..., Any]
    Refusal: type[FileError] = FileError
    allowance: int = 120 * 2**20  # bytes: a few arrays of the largest size that a graph may compute

    def draw(self, rng: random.Random) -> tuple[str, bytes, None]:
        return "changed", self.file(rng), None

    def read(self, path: Path) -> Any:
        return self.load(path, backend="numpy")


ONNX: Final = Subject(lambda rng: onnx_model(rng).SerializeToString(), onnx_file, from_onnx)
