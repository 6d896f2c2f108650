"""Random damaged ONNX models and state dicts: `python -m tests.fuzz_files.foreign [--seed 0] [--files 5000]`.

These files have no digest, so a changed file may be a valid one. It must give a layer or a refusal of one line, and
take little memory. A file that fails this check is kept, and its name is printed.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch

from tests.forge import little_memory
from tests.fuzz_files.damage import bytes_changed, cut
from xrnn import GRU, LSTM, Bidirectional, Embedding, Linear, Stack, from_onnx, to_onnx
from xrnn.exchange.torch_state import read_state
from xrnn.files import FileError

ALLOWANCE: Final = 120 * 2**20  # bytes: a few arrays of the largest size that a graph may compute
_NUMBERS: Final = [0, 1, -1, 2, 3, 7, 2**20, 2**31, 2**40, 2**62, -(2**63)]
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
            name = rng.choice(
                ["axis", "axes", "perm", "to", "clip", "layout", "direction", "hidden_size", "num_outputs", "value"]
            )
            node.attribute.append(
                onnx.helper.make_attribute(name, rng.choice([3, 2**40, [1, 0], [2**40], 0.5, "both"]))
            )

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
            tensor.external_data.append(
                onnx.StringStringEntryProto(key="location", value=rng.choice(["../x", "x", "/etc/passwd"]))
            )

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

    ways = [
        other_operator,
        other_name,
        other_attribute,
        other_attribute,
        other_tensor,
        other_input,
        other_order,
        other_integers,
        other_opset,
    ]
    rng.choice(ways)()


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


def state_file(rng: random.Random) -> bytes:
    kind = rng.choice([torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
    state = dict(kind(2, 3, rng.choice([1, 2]), bidirectional=rng.random() < 0.5).state_dict())
    name, damaged = rng.choice(list(state)), rng.random() < 0.4
    if not damaged:
        value = state.pop(name)
        shape = [rng.choice([0, 1, 3, 9, 64]) for _ in range(rng.choice([0, 1, 2, 2, 3]))]
        huge = torch.zeros(1).expand(2**20, 2**20)  # one element in the file
        others = [
            value.half(),
            value.double(),
            torch.zeros(shape),
            value.to_sparse(),
            huge,
            value.int(),
            3,
            "text",
            None,
            [value],
        ]
        state[rng.choice([name, name, name, name[:-1], f"{name}_reverse", "\x1b[2J", "weight_ih_l99"])] = rng.choice(
            [value, *others]
        )
    content = io.BytesIO()
    torch.save(state, content)
    whole = content.getvalue()
    if damaged:
        return bytes_changed(whole, rng, len(whole)) if rng.random() < 0.5 else cut(whole, rng)
    return whole


# ---- the check ----

KINDS: Final[dict[str, Any]] = {
    "onnx": (onnx_file, lambda path: from_onnx(path, backend="numpy")),
    "pt": (state_file, lambda path: read_state(path, backend="numpy")),
}


def run(kind: str, folder: Path, seed: int, files: int) -> tuple[Counter[str], float]:
    """Check `files` files → the count of each outcome, and the longest time in seconds."""
    make, load = KINDS[kind]
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    from_onnx(onnx_model(random.Random(0)), backend="numpy")  # so that its imports are not measured
    for i in range(files):
        path = folder / f"{seed}-{i}.{kind}"
        path.write_bytes(make(random.Random(f"{seed} {i}")))
        start = time.perf_counter()
        with warnings.catch_warnings(), little_memory(path, ALLOWANCE):
            warnings.simplefilter("ignore")  # of NaN
            try:
                load(path)
                outcomes["read"] += 1
            except FileError as error:
                if not str(error).isprintable():
                    raise AssertionError(f"more than one line, or what a terminal obeys: {error!r}") from error
                outcomes["refused"] += 1
        slowest = max(slowest, time.perf_counter() - start)
        path.unlink()
    return outcomes, slowest


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_files.foreign", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=5_000)
    options = parser.parse_args()
    for kind in KINDS:
        folder = Path(tempfile.mkdtemp(prefix=f"xrnn-fuzz-{kind}-"))
        try:
            outcomes, slowest = run(kind, folder, options.seed, options.files)
        except BaseException:
            print(f"kept: {folder}", file=sys.stderr)
            raise
        print(f"{kind}: {dict(sorted(outcomes.items()))}, the slowest took {slowest:.2f} s")
        folder.rmdir()


if __name__ == "__main__":
    main()
