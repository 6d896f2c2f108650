"""Saved layers are loaded as they were; other, damaged and forged files are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.errors import one_line, refused
from tests.exchange.layers import SHARED, XRNN_ONLY, D, H, Scaled, assert_alike, cell_file, flat, stack_file, x_of
from tests.fresh import output_of
from tests.safetensors_bytes import Forgery, changed, little_memory, tensor, without
from xrnn import GRU, LSTM, RNN, Bidirectional, Cell, Dropout, Linear, Recurrent, Stack, load, save, to_numpy
from xrnn.backend import Backend
from xrnn.exchange.description import canonical, take_apart
from xrnn.files import FileError


class ScaledByOne(Scaled):
    def initial_params(self, rng: np.random.Generator, H: int) -> list[Any]:
        return [np.array(1.5)]


SCALARS: Any = {"p": np.float32(0.25), "seed": np.int64(7), "layer": 2}
# Every kind of layer, and every option.
LAYERS: dict[str, Any] = {
    **(SHARED | XRNN_ONLY),
    "float64": lambda **o: GRU.init(D, H, reset_after=False, reverse=True, dtype="float64", **o),
    "leak": lambda **o: RNN.init(D, H, leak=0.3, **o),
    "leaks": lambda **o: Bidirectional.init(RNN, D, H, leak=[0.1, 0.2, 1, 0.5, 0.4], **o),
    "heads": lambda **o: xrnn.SLSTM.init(D, H, heads=1, reverse=True, **o),
    "own": lambda **o: Recurrent.init(Scaled(0.5, "a note"), D, H, seed=2**70, **o),
    "own scalar": lambda **o: Recurrent.init(ScaledByOne(2), D, H, **o),
    "stack": lambda **o: Stack.init(LSTM, D, H, depth=3, bidirectional=True, dropout=0.3, **o),
    "stacks": lambda **o: Stack([Stack.init(GRU, D, H, **o), Recurrent.init(Scaled(2), H, 4, **o)], dropout=0.1, rng=1),
    "linear": lambda **o: Linear.init(D, H, **o),
    "embedding": lambda **o: xrnn.Embedding.init(5, D, **o),
    "dropout": lambda **o: Dropout(**SCALARS),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_saved_layer_is_loaded_as_it_was(backend: Backend, tmp_path: Path, name: str) -> None:
    layer = LAYERS[name](rng=0, backend=backend)
    save(tmp_path / "layer", layer)
    again = load(tmp_path / "layer", cells={"Scaled": Scaled, "ScaledByOne": ScaledByOne}, backend=backend)
    assert_alike(again, layer)
    assert backend.name != "numpy" or not any(param.ctypes.data % 64 for param in again.params)
    if name not in ("linear", "embedding", "dropout"):
        x = backend.asarray(x_of(4, 2, D), again.params[0].dtype)
        for got, want in zip(*(flat(each.forward(x)) for each in (again, layer)), strict=True):
            np.testing.assert_array_equal(to_numpy(got), to_numpy(want))


def test_dropout_continues_with_the_next_step(tmp_path: Path) -> None:
    stack = Stack.init(RNN, D, H, dropout=0.5, rng=0)
    x = np.ones((3, 2, D), "float32")
    stack.forward(x)
    save(tmp_path / "stack", stack)
    again = load(str(tmp_path / "stack"))
    np.testing.assert_array_equal(again.forward(x)[0], stack.forward(x)[0])
    own = Recurrent.init(Scaled(1), D, H, rng=0)
    own.forward(x)
    save(tmp_path / "own", own)
    assert load(tmp_path / "own", cells={"Scaled": Scaled}).forward_calls == 1


class MyRNN(RNN):
    pass


class Holding(Cell):
    def __init__(self, value: Any) -> None:
        self.value = value


def test_a_description_of_the_greatest_length(tmp_path: Path) -> None:
    def layer(spare: int) -> Recurrent:
        return Recurrent.init(Scaled(0.5, "x" * spare), D, H, backend="numpy", seed=5)

    spare = 2**16 - len(canonical(take_apart(layer(0))[0]))
    save(tmp_path / "layer", layer(spare))
    assert load(tmp_path / "layer", cells={"Scaled": Scaled}).cell.note == "x" * spare
    with one_line(ValueError, "the description of layer has 65,537 characters", "at most 65,536; save it in parts"):
        save(tmp_path / "layer", layer(spare + 1))


def test_an_attribute_with_the_words_of_a_quantized_layer(tmp_path: Path) -> None:
    def make(scale: float, note: str, kind: str) -> Any:
        cell: Any = Scaled(scale, note)
        cell.kind = kind
        return cell

    save(tmp_path / "layer", Recurrent.init(make(0.5, "", "Quantized"), D, H, backend="numpy", seed=5))
    assert load(tmp_path / "layer", cells={"Scaled": make}).cell.kind == "Quantized"


def nested(depth: int) -> Any:
    layer: Any = RNN.init(H, H)
    for _ in range(depth):
        layer = Stack([layer])
    return layer


def test_layers_without_a_description_are_not_saved(tmp_path: Path) -> None:
    def saving(layer: Any) -> Callable[[], None]:
        return lambda: save(tmp_path / "file", layer)

    def holding(value: Any) -> Recurrent:
        return Recurrent.init(Holding(value), D, H)

    ours = "expected one of xrnn's own layers"
    refused(
        (TypeError, saving(None), "layer is a NoneType", ours, "use Recurrent"),
        (TypeError, saving(Stack([RNN.init(D, H), MyRNN.init(H, H)])), "layer.layers[1] is a ", "MyRNN", ours),
        (TypeError, saving(holding(np.float32(1))), "the cell 'Holding' holds value, a numpy.float32", "float(value)"),
        (TypeError, saving(holding([1])), "holds value, a list: expected numbers and strings"),
        (ValueError, saving(nested(17)), "layers are nested more than 16 deep", "join inner Stacks"),
    )
    assert not list(tmp_path.iterdir())
    save(tmp_path / "file", nested(16))
    assert load(tmp_path / "file").output_size == H


# ---- damaged and forged files ----


def described(change: Callable[[dict[str, Any]], object]) -> Callable[[Forgery], None]:
    return changed("layer", change)


def option(layer: int, **changes: Any) -> Callable[[Forgery], None]:
    return described(lambda description: description["layers"][layer]["options"].update(changes))


def entry(**changes: Any) -> Callable[[Forgery], None]:
    return described(lambda description: description.update(changes))


def text(content: str) -> Callable[[Forgery], None]:
    return metadata(layer=content)


def metadata(**changes: str) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.metadata.update(changes)


GRU_IN_STACK = {"kind": "Stack", "layers": [{"kind": "GRU", "options": {"reset_after": True, "reverse": False}}]}
DROPOUT = {"kind": "Dropout", "options": {"p": 0.5, "seed": 3, "layer": 0}, "step": 0}
NO_LAYER = "describes no layer that fits its arrays ("
FORGED: dict[str, tuple[Callable[[Forgery], object], str]] = {
    "another format": (metadata(format="xrnn character model"), "has format xrnn character model: expected a layer"),
    "no format": (lambda forgery: forgery.metadata.pop("format"), "has no format of xrnn: expected a layer; name a"),
    "another version": (metadata(version="2"), "has version 2: expected 1; use the xrnn that wrote it"),
    "a version that clears the screen": (metadata(version="\x1b[2J"), "has version �[2J: expected 1"),
    "65 dimensions": (tensor("0.b", "F32", [1] * 65, bytes(4)), "holds an array that NumPy does not support ("),
    "BF16": (tensor("0.b", "BF16", [12], bytes(24)), "holds 0.b as BF16: expected F32, F64, I8; use another copy"),
    "float64 among float32": (tensor("0.b", "F64", [12], bytes(96)), f"{NO_LAYER}b has dtype float64, but this GRU"),
    "int8 among float32": (tensor("1.Wh", "I8", [4, 4], bytes(16)), "Wh has dtype int8"),
    "a float64 leak": (tensor("1.leak", "F64", [4], np.ones(4).tobytes()), "save would describe this Stack"),
    "nothing of much": (tensor("0.b", "F32", [2**62, 0], b""), "holds an array that NumPy does not support ("),
    "beyond memory": (tensor("0.b", "F32", [2**62], b""), "is truncated or damaged ("),
    "another shape": (tensor("0.b", "F32", [3, 4], bytes(48)), f"{NO_LAYER}b has shape (3, 4), but this GRU expects"),
    "no hidden units": (tensor("1.Wh", "F32", [0, 0], b""), f"{NO_LAYER}Wh has shape (0, 0), but this RNN expects"),
    "a missing array": (without("1.b"), f"{NO_LAYER}there is no array 1.b: expected those of the described layers)"),
    "an array too many": (tensor("2.b", "F32", [1], bytes(4)), f"{NO_LAYER}there is an array 2.b: expected those of"),
    "an array named in colour": (tensor("\x1b[31m", "F32", [1], bytes(4)), "there is an array �[31m: expected"),
    "an unknown kind": (entry(kind="GRU4"), f"{NO_LAYER}the kind GRU4 is unknown: expected one of RNN, LSTM, GRU"),
    "layers of no kind": (entry(layers=[1, 2]), f"{NO_LAYER}kind is a NoneType in the description: expected a str)"),
    "1 for true": (option(0, reset_after=1), f"{NO_LAYER}reset_after is 1: expected True or False"),
    "an option left out": (described(lambda d: d["layers"][0]["options"].pop("reverse")), "save would describe this S"),
    "a leak beyond floats": (option(1, leak=10**400), NO_LAYER),
    "a leak in a list": (option(1, leak=[0.25, 0.5, 0.75, 1]), f"{NO_LAYER}there is an array 1.leak"),
    "a leak of another name": (option(1, leak={"array": "0.b"}), "save would describe this Stack differently"),
    "no step": (entry(dropout=[DROPOUT | {"step": None}]), f"{NO_LAYER}step is None: expected an integer, at least 0"),
    "two dropouts": (entry(dropout=[DROPOUT, DROPOUT]), f"{NO_LAYER}dropout does not fit a Stack: expected a Dropout"),
    "a dropout of layers": (entry(dropout=[GRU_IN_STACK]), f"{NO_LAYER}layers are nested more than 16 deep"),
    "no JSON": (text("{kind: GRU}"), f"{NO_LAYER}no JSON)"),
    "deep JSON": (text("[" * 60_000), f"{NO_LAYER}no JSON)"),
    "long numbers": (text("9" * 5000), f"{NO_LAYER}no JSON)"),
    "long JSON": (text(" " * 70_000), f"{NO_LAYER}70,000 characters: expected at most 65,536)"),
    "deep layers": (text('{"kind":"Stack","layers":[' * 200 + "]}" * 200), "layers are nested more than 16 deep)"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_files_with_a_right_digest_are_refused(tmp_path: Path, name: str) -> None:
    forge, words = FORGED[name]
    forgery = stack_file()
    forge(forgery)
    path = forgery.write(tmp_path / "file")
    # The fixed part is mostly stack frames of a JSON parser at the recursion limit.
    with little_memory(path, 2**20), one_line(FileError, str(path), words):
        load(path)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = stack_file().to_bytes()
    for content, words in {
        whole + b"x": "is truncated or damaged (",
        whole.replace(b"relu", b"tanh"): "was changed after it was written",
        struct.pack("<Q", 2**62) + whole[8:]: "is truncated or damaged (",  # a header beyond memory
        b"\x80\x04\x95cos\nsystem\n": "is not a safetensors file",  # a pickle
    }.items():
        path.write_bytes(content)
        with one_line(FileError, str(path), words):
            load(path)


# ---- user-defined cells ----


def test_cells_are_made_by_the_functions_that_the_caller_gives(tmp_path: Path) -> None:
    path = cell_file().write(tmp_path / "file")
    for make in (Scaled, lambda **held: Scaled(**held)):
        assert load(path, cells={"Scaled": make, "other": Cell}).cell.scale == 0.5
    holds = f"{path} holds "
    refused(
        (FileError, lambda: load(path), holds + "the cell 'Scaled', which xrnn does not have", "cells={'Scaled': …}"),
        (TypeError, lambda: load(path, cells=Scaled), "cells is a type: expected a dict"),  # type: ignore[call-overload]
    )
    remedy = "use the class of the saved cell, or a function that takes its attributes as keyword arguments"
    wrong: dict[str, Any] = {
        "cells= makes a different one": lambda **held: Scaled(0.25),
        "but cells= makes a different one": lambda **held: type("Zoomed", (Scaled,), {})(**held),
        "with note='', scale=0.5, but cells= makes a different": lambda **held: type("Plain", (Scaled,), {})(**held),
        "makes a different one": lambda **held: object(),
        "cells= cannot make it (": lambda scale: Scaled(scale),
        "object is not callable": "Scaled",
        "invalid literal": lambda **held: int("none"),  # a ValueError
    }
    for words, make in wrong.items():
        with one_line(FileError, holds + "a cell 'Scaled' with note='', scale=0.5", words, remedy):
            load(path, cells={"Scaled": make})


def test_wrong_descriptions_of_cells_are_refused(tmp_path: Path) -> None:
    rows: list[tuple[dict[str, Any], str]] = [
        ({"attributes": {"scale": [1]}}, "the cell 'Scaled' has attributes other than numbers and strings"),
        ({"attributes": [0.5]}, "attributes is a list in the description: expected a dict"),
        ({"options": {"reverse": False, "seed": 0, "cell": 1}}, "got multiple values for argument 'cell'"),
        ({"step": "0"}, "step is '0': expected an integer, at least 0"),
    ]
    for changes, words in rows:
        path = cell_file(**changes).write(tmp_path / "file")
        with one_line(FileError, str(path), NO_LAYER, words):
            load(path, cells={"Scaled": Scaled})


def test_names_in_a_file_are_not_imported() -> None:
    code = """
import sys, tempfile, pathlib, xrnn
from tests.exchange.test_files import cell_file
path = pathlib.Path(tempfile.mkdtemp()) / "file"
cell_file(cell="this", attributes={}).write(path)
xrnn.RNN.init(2, 3)
before = set(sys.modules)
try:
    xrnn.load(path)
except ValueError:
    print("this" in sys.modules, "torch" in sys.modules)
"""
    assert output_of(code, XRNN_BACKEND="numpy") == "False False"
