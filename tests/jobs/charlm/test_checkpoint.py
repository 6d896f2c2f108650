"""Checkpoints come back as they were, or say what is wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tests.jobs.charlm.test_trainer import assert_equal
from tests.jobs.charlm.texts import TINY
from xrnn.jobs.charlm.checkpoint import check_replaceable, load_checkpoint, save_checkpoint
from xrnn.jobs.charlm.errors import CheckpointError, OutputError
from xrnn.jobs.charlm.trainer import Snapshot


def example() -> Snapshot:
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = {"model.linear.W": wide.T, "state.0": wide[:, ::2], "losses": np.array([8.0, np.nextafter(7, 8)])}
    return Snapshot(TINY, "fingerprint", 2, arrays)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, example())
    assert_equal(load_checkpoint(path), example())
    assert os.listdir(tmp_path) == ["c.safetensors"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, example())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as error:
        save_checkpoint(path, Snapshot(TINY, "another", 3, {}))
    assert str(error.value) == (
        f"can't write {path} (No space left on device): expected room and permission there; what it held still stands"
    )
    assert_equal(load_checkpoint(path), example())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def alter_a_weight(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, **changes: str) -> None:
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata() | changes
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata)


def alter_a_setting(path: Path) -> None:
    rewrite(path, settings=json.dumps({"hidden": 13}))


def of_another_version(path: Path) -> None:
    rewrite(path, version="7")


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
            "covered): expected a whole checkpoint; use another copy",
        ),
        (alter_a_weight, "was changed after it was written: expected content that gives its digest; use another copy"),
        (alter_a_setting, "was changed after it was written: expected content that gives its digest; use another copy"),
        (of_another_version, "has version 7: expected 1; use the xrnn that wrote it, or train again"),
        (
            of_another_program,
            "holds arrays, but no character model: expected a checkpoint; name a file that `xrnn train` wrote",
        ),
        (text, "is not a safetensors file: expected a checkpoint; name a file that `xrnn train` wrote"),
        (empty, "is not a safetensors file: expected a checkpoint; name a file that `xrnn train` wrote"),
    ],
)
def test_what_is_no_whole_checkpoint_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, example())
    spoil(path)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert str(error.value) == f"{path} {message}"


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "c")
    assert str(error.value) == (
        f"can't read {tmp_path / 'c'} (No such file or directory): expected a checkpoint; "
        "name a file that `xrnn train` wrote"
    )


def test_only_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "new")
    save_checkpoint(tmp_path / "old", example())
    check_replaceable(tmp_path / "old")
    (tmp_path / "notes").write_text("mine")
    for path, message in {
        tmp_path / "notes": "notes exists and is no checkpoint: expected a new name, or a checkpoint to replace",
        tmp_path / "nowhere" / "c": "c (No such file or directory): expected an existing folder that may be written to",
        tmp_path / "notes" / "c": "c (Not a directory): expected an existing folder that may be written to",
        tmp_path: "expected a file's name, but it is a folder; name a file in it",
    }.items():
        with pytest.raises(OutputError) as error:
            check_replaceable(path)
        assert message in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["notes", "old"]
    assert (tmp_path / "notes").read_text() == "mine"
