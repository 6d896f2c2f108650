"""Checkpoints are read back unchanged, or refused before their arrays are allocated."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tests.errors import one_line
from tests.forge import Tensor, little_memory, tensor, without
from tests.models.snapshots import assert_equal
from tests.models.text.forge import Forgery
from tests.models.text.texts import TINY, small_corpus
from xrnn.cells import CELLS
from xrnn.models.checkpoint import Snapshot
from xrnn.models.errors import CheckpointError, OutputError
from xrnn.models.text import CHARACTER_MODEL, TextSettings, TextTrainer
from xrnn.select import get_backend


def example(folder: Path, steps: int = 2, cell: str = "rnn") -> Snapshot[TextSettings]:
    trainer = TextTrainer(replace(TINY, cell=cell), small_corpus(folder), get_backend("numpy"))
    for _ in range(steps):
        trainer.step()
    return trainer.snapshot()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_checkpoint_is_read_back_bit_for_bit(tmp_path: Path, steps: int, cell: str) -> None:
    path = tmp_path / "c.safetensors"
    snapshot = example(tmp_path, steps, cell)
    CHARACTER_MODEL.save(path, snapshot)
    assert_equal(CHARACTER_MODEL.load(path), snapshot)
    assert CHARACTER_MODEL.wrote(path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    snapshot = example(tmp_path)
    CHARACTER_MODEL.save(path, snapshot)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as error:
        CHARACTER_MODEL.save(path, example(tmp_path, 3))
    assert str(error.value) == (
        f"can't write {path} (No space left on device): expected free space and permission; the old file is unchanged"
    )
    assert_equal(CHARACTER_MODEL.load(path), snapshot)


def test_settings_that_a_file_lacks_get_their_defaults(tmp_path: Path) -> None:
    forgery = Forgery(settings={"hidden": 3, "seq_len": 4, "batch": 2, "lr": 0.01})
    snapshot = CHARACTER_MODEL.load(forgery.write(tmp_path / "c"))
    assert snapshot.settings == TextSettings(hidden=3, layers=1, seq_len=4, batch=2, lr=0.01)
    params = [param for layer in snapshot.layers.values() for param in layer.params]
    arrays = [*params, *snapshot.optimizer.state["m"], *snapshot.optimizer.state["v"]]
    arrays += [snapshot.arrays["losses"], snapshot.arrays["state.0"]]
    for array, written in zip(arrays, forgery.tensors.values(), strict=True):
        assert array.tobytes() == written.content
        assert list(array.shape) == written.shape


# ---- damaged files ----


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def alter_a_weight(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, without: str = "", **changes: str) -> None:
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata() | changes
    metadata.pop(without, None)
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata)


def alter_a_setting(path: Path) -> None:
    with safetensors.safe_open(path, "numpy") as file:
        described = file.metadata()["checkpoint"]
    rewrite(path, checkpoint=described.replace('"seq_len": 7', '"seq_len": 8'))


def of_another_version(path: Path) -> None:
    rewrite(path, version="7")


def of_no_format(path: Path) -> None:
    rewrite(path, without="format")


def of_another_program(path: Path) -> None:
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path)


def text(path: Path) -> None:
    path.write_text("To be, or not to be: that is the question")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            truncate,
            "is truncated or damaged (Error while deserializing header: incomplete metadata, file not fully "
            "covered): expected a complete file; use another copy",
        ),
        (alter_a_weight, "was changed after it was written: expected content that gives its digest; use another copy"),
        (alter_a_setting, "was changed after it was written: expected content that gives its digest; use another copy"),
        (of_another_version, "has version 7: expected 1; use the xrnn that wrote it"),
        (of_no_format, "has no format of xrnn: expected a checkpoint; name a file that `xrnn train` wrote"),
        (
            of_another_program,
            "has no format of xrnn: expected a checkpoint; name a file that `xrnn train` wrote",
        ),
        (text, "is not a safetensors file: expected a checkpoint; name a file that `xrnn train` wrote"),
        (empty, "is not a safetensors file: expected a checkpoint; name a file that `xrnn train` wrote"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "c.safetensors"
    CHARACTER_MODEL.save(path, example(tmp_path))
    spoil(path)
    with pytest.raises(CheckpointError) as error:
        CHARACTER_MODEL.load(path)
    assert str(error.value) == f"{path} {message}"


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        CHARACTER_MODEL.load(tmp_path / "c")
    assert str(error.value) == (
        f"can't read {tmp_path / 'c'} (No such file or directory): expected a checkpoint; "
        "name a file that `xrnn train` wrote"
    )
    assert not CHARACTER_MODEL.wrote(tmp_path / "c")


# ---- forged files: their digest is right ----


def settings(**changes: object) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.settings.update(changes)


def settings_text(value: object) -> Callable[[Forgery], None]:
    return lambda forgery: setattr(forgery, "settings", value)


def step(value: object) -> Callable[[Forgery], None]:
    return lambda forgery: setattr(forgery, "step", value)


def picture(value: object) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.extra.update(picture=value)


def array(name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.tensors.update({name: Tensor.of(value.astype("float32"))})


def losses(value: float) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.tensors.update({"extra.0": Tensor.of(np.full(2, value))})


FORGED: dict[str, tuple[Callable[[Forgery], None], str]] = {
    "BF16": (tensor("layers.1.0.b", "BF16", [3], bytes(6)), "holds layers.1.0.b as BF16: expected F16, F32"),
    "F8": (tensor("layers.1.0.b", "F8_E4M3", [3], bytes(3)), "holds layers.1.0.b as F8_E4M3: expected F16, F32"),
    "F16": (tensor("layers.1.0.b", "F16", [3], bytes(6)), "(b has dtype float16"),
    "int32": (tensor("layers.1.0.b", "I32", [3], bytes(12)), "(b has dtype int32"),
    "float64": (
        tensor("layers.1.0.b", "F64", [3], bytes(24)),
        "(b has dtype float64, but this RNN computes in float32",
    ),
    "losses in float32": (
        tensor("extra.0", "F32", [2], bytes(8)),
        "holds losses as float32 (2,): expected float64 (2,)",
    ),
    "65 dimensions": (
        tensor("layers.1.0.b", "F32", [1] * 65, bytes(4)),
        "holds an array that NumPy does not support (max",
    ),
    "beyond memory": (tensor("layers.1.0.b", "F32", [2**62], b""), "is truncated or damaged ("),
    "nothing of much": (tensor("layers.1.0.b", "F32", [2**62, 0], b""), "holds an array that NumPy does not support ("),
    "Wx of (1, 1)": (
        tensor("layers.1.0.Wx", "F32", [1, 1], bytes(4)),
        "(Wx has shape (1, 1), but this RNN expects (D, 3)",
    ),
    "a missing array": (
        without("optimizer.0.v.5"),
        "(there is no array optimizer.0.v.5: expected those of the described layers)",
    ),
    "an extra array": (tensor("layers.1.1.b", "F32", [3], bytes(12)), "(there is an array layers.1.1.b: expected only"),
    "no arrays": (
        lambda forgery: forgery.tensors.clear(),
        "(there is no array layers.0.W: expected those of the described layers)",
    ),
    "losses too short": (
        tensor("extra.0", "F64", [1], bytes(8)),
        "holds losses as float64 (1,): expected float64 (2,)",
    ),
    "NaN": (array("layers.1.0.b", np.array([0, math.nan, 0])), "holds layers.1.0.b with NaN or infinity: expected"),
    "infinity": (array("optimizer.0.m.3", np.array([0, math.inf, 0])), "holds optimizer.0.m.3 with NaN or infinity"),
    "negative squares": (
        array("optimizer.0.v.3", np.array([0, -1.0, 0])),
        "holds a negative optimizer.0.v.3: expected a",
    ),
    "hidden=20000": (settings(hidden=20000), "holds layers.1.0.Wx as float32 (64, 3): expected float32 (64, 20000) by"),
    "more layers": (settings(layers=2), "holds other layers or another optimizer than its settings describe"),
    "another batch": (settings(batch=3), "holds state.0 as float32 (2, 3): expected float32 (3, 3)"),
    "no such size": (settings(hidden=0), "has invalid settings (hidden is 0: expected a whole number from 1"),
    "an unknown cell": (settings(cell="lstn"), "has invalid settings (cell is lstn: expected one of rnn, lstm"),
    "another cell": (settings(cell="gru"), "holds other layers or another optimizer than its settings describe"),
    "a million layers": (settings(layers=2**20), "has invalid settings (layers is 1048576: expected a whole"),
    "lr of NaN": (settings(lr=math.nan), "has invalid settings (lr is nan: expected a positive number up to 1000"),
    "a large lr": (settings(lr=1e300), "has invalid settings (lr is 1e+300: expected a positive number up to 1000"),
    "negative losses": (losses(-1.0), "holds losses out of range: expected 0 to 1e+39; name a file that"),
    "losses beyond float32": (losses(1e300), "holds losses out of range: expected 0 to 1e+39"),
    "lr beyond floats": (settings(lr=10**400), "has invalid settings (a number is too large"),
    "a negative seed": (settings(seed=-1), "has invalid settings (seed is -1: expected a whole number"),
    "an unknown setting": (settings(colour="red"), "has invalid settings (colour is unknown: expected cell, hidden"),
    "a size in words": (settings(hidden="3"), "has invalid settings (hidden is a str: expected int)"),
    "a size in parts": (settings(hidden=3.0), "has invalid settings (hidden is a float: expected int)"),
    "true": (settings(layers=True), "has invalid settings (layers is a bool: expected int)"),
    "null": (settings(seed=None), "has invalid settings (seed is a NoneType: expected int)"),
    "a list of sizes": (settings(hidden=[3]), "has invalid settings (hidden is a list: expected int)"),
    "no JSON": (settings_text("{hidden: 3"), "has invalid settings (a str: expected an object)"),
    "no settings": (settings_text(""), "has invalid settings (a str: expected an object)"),
    "deep JSON": (
        lambda forgery: forgery.metadata.update(checkpoint="[" * 100_000),
        "has format xrnn checkpoint: expected a checkpoint; name a file that `xrnn train` wrote",
    ),
    "a picture of no strings": (picture({"dict": {"name": "p.png", "sha256": 7}}), "has invalid picture (another"),
    "half a picture": (picture({"dict": {"name": "p.png"}}), "has invalid picture (another object: expected the"),
    "a picture without JSON": (picture("p.png"), "has invalid picture (a str: expected an object)"),
    "a list": (settings_text([1, 2]), "has invalid settings (a list: expected an object)"),
    "a negative step": (step(-2), "(count is -2: expected an integer, at least 0)"),
    "a step in words": (step("two"), "(count is 'two': expected an integer, at least 0;"),
    "a long step": (step(2**80), "(Python int too large to convert to C long)"),
    "another step": (step(3), "holds losses as float64 (2,): expected float64 (3,)"),
    "a step beyond memory": (step(10**15 - 1), f"holds losses as float64 (2,): expected float64 ({'9' * 15},)"),
    "a version that sets the title": (
        lambda forgery: forgery.metadata.update(version="\x1b]0;title\x07"),
        "has version �]0;title�: expected 1",
    ),
    "a name that clears the screen": (
        tensor("\x1b[2J", "F32", [], bytes(4)),
        "(there is an array �[2J: expected only those that the description names)",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    forge, words = FORGED[name]
    forgery = Forgery()
    forge(forgery)
    path = forgery.write(tmp_path / "c")
    with little_memory(path, 50_000), one_line(CheckpointError, str(path), words):
        CHARACTER_MODEL.load(path)


@pytest.mark.parametrize("value", [-1e-5, 0.0, 1e39])
def test_the_lowest_and_the_highest_loss_are_read(tmp_path: Path, value: float) -> None:
    forgery = Forgery()
    losses(value)(forgery)
    assert (CHARACTER_MODEL.load(forgery.write(tmp_path / "c")).arrays["losses"] == value).all()


@pytest.mark.parametrize("value", [np.nextafter(-1e-5, -1), np.nextafter(1e39, 2e39)])
def test_a_loss_beyond_them_is_refused(tmp_path: Path, value: float) -> None:
    forgery = Forgery()
    losses(value)(forgery)
    with one_line(CheckpointError, "holds losses out of range: expected 0 to 1e+39"):
        CHARACTER_MODEL.load(forgery.write(tmp_path / "c"))
