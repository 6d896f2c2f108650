"""Checkpoints are read as they were written, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.jobs.charlm.forge import Forgery
from tests.jobs.classify.tiny import TINY, dataset
from tests.jobs.snapshots import assert_equal
from xrnn.cells import CELLS
from xrnn.files import write_arrays
from xrnn.jobs.charlm.charlm_checkpoint import CHARLM_CHECKPOINTS
from xrnn.jobs.checkpoint import Snapshot
from xrnn.jobs.classify.classifier_checkpoint import CLASSIFIER_CHECKPOINTS, Facts, specs
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.classifier_trainer import ClassifierTrainer
from xrnn.jobs.errors import CheckpointError, SettingsError
from xrnn.select import get_backend


def example(settings: ClassifierSettings = TINY) -> Snapshot[ClassifierSettings]:
    trainer = ClassifierTrainer(settings, dataset(), get_backend("numpy"))
    trainer.step()
    trainer.step()
    return trainer.snapshot()


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path, cell: str, one_way: bool) -> None:
    path = tmp_path / "c.safetensors"
    snapshot = example(replace(TINY, cell=cell, one_way=one_way))
    CLASSIFIER_CHECKPOINTS.save(path, snapshot)
    assert_equal(CLASSIFIER_CHECKPOINTS.load(path), snapshot)
    assert CLASSIFIER_CHECKPOINTS.wrote(path)
    expected = specs(snapshot.settings, snapshot.facts, 2)
    assert {name: (spec.shape, spec.dtype) for name, spec in expected.items()} == {
        name: (array.shape, array.dtype.name) for name, array in snapshot.arrays.items()
    }


def test_any_labels_are_read_as_written(tmp_path: Path) -> None:
    snapshot = replace(example(), facts=Facts(2, ("\x1b[2J", "\udce9")))
    CLASSIFIER_CHECKPOINTS.save(tmp_path / "c", snapshot)
    assert CLASSIFIER_CHECKPOINTS.load(tmp_path / "c").facts == snapshot.facts


def test_a_checkpoint_of_another_job_is_refused(tmp_path: Path) -> None:
    CLASSIFIER_CHECKPOINTS.save(tmp_path / "series", example())
    Forgery().write(tmp_path / "text")
    with one_line(
        CheckpointError,
        "text has format xrnn character model: expected a checkpoint; name a file that `xrnn cla",
    ):
        CLASSIFIER_CHECKPOINTS.load(tmp_path / "text")
    with one_line(CheckpointError, "series has format xrnn series classifier: expected a checkpoint; name a file"):
        CHARLM_CHECKPOINTS.load(tmp_path / "series")
    assert not CLASSIFIER_CHECKPOINTS.wrote(tmp_path / "text")
    assert not CHARLM_CHECKPOINTS.wrote(tmp_path / "series")


def test_the_number_of_channels_has_a_limit() -> None:
    text = '{{"channels": {}, "labels": ["a", "b"]}}'
    for channels in (1, 2**20):
        assert Facts.from_json(text.format(channels)).channels == channels
    for channels in (0, 2**20 + 1):
        with one_line(SettingsError, f"channels is {channels}: expected a whole number from 1 to 1048576"):
            Facts.from_json(text.format(channels))


# ---- forged files: their digest is right ----


def settings(**changes: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda metadata, arrays: metadata.update(settings=json.dumps(json.loads(metadata["settings"]) | changes))


def facts(text: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda metadata, arrays: metadata.update(facts=text)


def array(name: str, values: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda metadata, arrays: arrays.update({name: np.array(values)})


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (settings(one_way=True), "lacks an array adam.m.gru0.Wh: expected the"),
        (settings(one_way=1), "has invalid settings (one_way is a int: expected bool)"),
        (settings(hidden=True), "has invalid settings (hidden is a bool: expected int)"),
        (settings(dropout=1.0), "has invalid settings (--dropout is 1.0: expected a probability in [0, 1)"),
        (settings(noise=-1), "has invalid settings (--noise is -1: expected a number from 0 to 1000"),
        (settings(hidden=20000), "expected F32 (2, 60000)"),
        (facts('{"channels": 3, "labels": ["a", "b"]}'), ": expected F32 (3, 18)"),
        (facts('{"channels": 2, "labels": ["a", "b", "c"]}'), ": expected F32 (12, 3)"),
        (facts('{"channels": 0, "labels": ["a", "b"]}'), "has invalid facts (channels is 0: expected a whole number"),
        (facts('{"channels": true, "labels": ["a", "b"]}'), "has invalid facts (channels is True: expected"),
        (facts('{"channels": 2, "labels": ["a"]}'), "has invalid facts (labels holds fewer than two, or one twice"),
        (facts('{"channels": 2, "labels": ["a", "a"]}'), "has invalid facts (labels holds fewer than two, or one"),
        (
            facts('{"channels": 2, "labels": [[1], 2]}'),
            "has invalid facts (labels is not a list of strings or numbers: expected one)",
        ),
        (
            facts('{"channels": 2, "labels": "ab"}'),
            "has invalid facts (labels is not a list of strings or numbers: expected one)",
        ),
        (
            facts('{"channels": 2}'),
            "has invalid facts (they have other names: expected channels, labels,",
        ),
        (
            facts('{"channels": 2, "labels": ["a", "b"], "channel_names": ["x"]}'),
            "has invalid facts (channel_names are not 2 strings: expected one for each channel)",
        ),
        (
            facts('{"channels": 2, "labels": ["a", "b"], "channel_names": "xy"}'),
            "has invalid facts (channel_names are not 2 strings",
        ),
        (
            facts('{"channels": 2, "labels": ["a", "b"], "channel_names": [1, 2]}'),
            "has invalid facts (channel_names are not 2 strings",
        ),
        (settings(mask=True), "expected F32 (4, 18)"),
        (settings(patience=3), "lacks an array best.gru0.0.Wh"),
        (settings(patience=-1), "has invalid settings (--patience is -1: expected a whole number from 0 to"),
        (settings(decimal=";"), "has invalid settings (--decimal is ;: expected . or ,)"),
        (facts("[]"), "has invalid facts (a list: expected an object)"),
        (facts(""), "has invalid facts (no JSON: expected an object)"),
        (array("scale.mean", [0.0, np.nan]), "holds scale.mean with NaN or infinity: expected finite numbers"),
        (array("scale.mean", [0.0]), "holds scale.mean as F64 (1,): expected F64 (2,)"),
    ],
)
def test_invalid_contents_with_a_valid_digest_are_refused(
    tmp_path: Path, forge: Callable[[dict[str, Any], dict[str, Any]], None], words: str
) -> None:
    snapshot, path = example(), tmp_path / "c"

    def forged(path: Path, arrays: Any, metadata: Any, write: Any) -> None:
        forge(metadata, arrays)
        write_arrays(path, arrays, metadata)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xrnn.jobs.checkpoint.write_arrays", forged)
        CLASSIFIER_CHECKPOINTS.save(path, snapshot)
    with one_line(CheckpointError, str(path), words):
        CLASSIFIER_CHECKPOINTS.load(path)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"dropout": float("nan")}, "--dropout is nan: expected a probability in [0, 1), such as 0.3"),
        ({"dropout": -0.1}, "--dropout is -0.1: expected a probability in [0, 1)"),
        ({"noise": float("inf")}, "--noise is inf: expected a number from 0 to 1000, such as 0.3"),
        ({"cell": "lstn"}, "--cell is lstn: expected one of rnn, lstm, gru"),
        ({"batch": 0}, "--batch is 0: expected a whole number from 1 to 1048576"),
    ],
)
def test_invalid_settings_get_one_line(setting: dict[str, Any], words: str) -> None:
    with one_line(SettingsError, words):
        ClassifierSettings(**setting)
