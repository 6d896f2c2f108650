"""Checkpoints are read as they were written, or refused in one line."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.errors import one_line
from tests.models.labelled.tiny import TINY, dataset
from tests.models.snapshots import assert_equal, save_forged
from tests.models.text.forge import Forgery
from xrnn.cells import CELLS
from xrnn.models.checkpoint import Snapshot
from xrnn.models.errors import CheckpointError, SettingsError
from xrnn.models.labelled.head import Classes
from xrnn.models.labelled.model import CLASSIFIER
from xrnn.models.labelled.settings import ClassifierSettings
from xrnn.models.labelled.trainer import SeriesTrainer
from xrnn.models.text import CHARACTER_MODEL
from xrnn.select import get_backend


def example(settings: ClassifierSettings = TINY) -> Snapshot[ClassifierSettings]:
    trainer = SeriesTrainer(settings, dataset(), get_backend("numpy"))
    trainer.step()
    trainer.step()
    return trainer.snapshot()


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path, cell: str, one_way: bool) -> None:
    path = tmp_path / "c.safetensors"
    snapshot = example(replace(TINY, cell=cell, one_way=one_way))
    CLASSIFIER.save(path, snapshot)
    assert_equal(CLASSIFIER.load(path), snapshot)
    assert CLASSIFIER.wrote(path)
    c = xrnn.load_checkpoint(path, backend="numpy")
    assert list(c.layers) == ["stack", "linear"]
    assert (type(c.optimizer), c.optimizer.steps, c.extra["job"]) == (xrnn.Adam, 2, "xrnn series classifier")
    assert c.extra["facts"]["labels"] == ["quick", "slow"]


@pytest.mark.parametrize("patience", [0, 3])
def test_a_snapshot_can_be_copied_and_pickled(patience: int) -> None:
    snapshot = example(replace(TINY, patience=patience))
    for again in (copy.deepcopy(snapshot), pickle.loads(pickle.dumps(snapshot))):
        assert_equal(again, snapshot)
        assert again.layers["linear"].W is not snapshot.layers["linear"].W
        assert again.optimizer.layers == [again.layers["stack"], again.layers["linear"]]


def test_any_labels_are_read_as_written(tmp_path: Path) -> None:
    snapshot = replace(example(), facts=Classes(2, ("\x1b[2J", "\udce9")))
    CLASSIFIER.save(tmp_path / "c", snapshot)
    assert CLASSIFIER.load(tmp_path / "c").facts == snapshot.facts


def test_a_checkpoint_of_another_job_is_refused(tmp_path: Path) -> None:
    CLASSIFIER.save(tmp_path / "series", example())
    Forgery().write(tmp_path / "text")
    with one_line(
        CheckpointError,
        "text has format xrnn character model: expected a checkpoint; name a file that `xrnn cla",
    ):
        CLASSIFIER.load(tmp_path / "text")
    with one_line(CheckpointError, "series has format xrnn series classifier: expected a checkpoint; name a file"):
        CHARACTER_MODEL.load(tmp_path / "series")
    assert not CLASSIFIER.wrote(tmp_path / "text")
    assert not CHARACTER_MODEL.wrote(tmp_path / "series")


def test_the_number_of_channels_has_a_limit() -> None:
    text = '{{"channels": {}, "labels": ["a", "b"]}}'
    for channels in (1, 2**20):
        assert Classes.from_json(json.loads(text.format(channels))).channels == channels
    for channels in (0, 2**20 + 1):
        with one_line(SettingsError, f"channels is {channels}: expected a whole number from 1 to 1048576"):
            Classes.from_json(json.loads(text.format(channels)))


# ---- forged files: their digest is right ----


Change = Callable[[dict[str, Any]], object]


def settings(**changes: object) -> Change:
    return lambda extra: extra["settings"].update(changes)


def facts(text: str) -> Change:
    return lambda extra: extra.update(facts=json.loads(text))


def array(name: str, values: object) -> Change:
    return lambda extra: extra["arrays"].update({name: np.array(values)})


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (settings(one_way=True), "holds other layers or another optimizer than its settings describe: expected those"),
        (settings(one_way=1), "has invalid settings (one_way is a int: expected bool)"),
        (settings(hidden=True), "has invalid settings (hidden is a bool: expected int)"),
        (settings(dropout=1.0), "has invalid settings (dropout is 1.0: expected a probability in [0, 1)"),
        (settings(noise=-1), "has invalid settings (noise is -1: expected a number from 0 to 1000"),
        (
            settings(hidden=20000),
            "holds layers.0.0.0.Wx as float32 (2, 18): expected float32 (2, 60000) by its settings",
        ),
        (facts('{"channels": 3, "labels": ["a", "b"]}'), "expected float32 (3, 18) by its settings"),
        (facts('{"channels": 2, "labels": ["a", "b", "c"]}'), "expected float32 (12, 3) by its settings"),
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
        (settings(mask=True), "expected float32 (4, 18) by its settings"),
        (settings(patience=3), "holds other layers or another optimizer"),
        (settings(patience=-1), "has invalid settings (patience is -1: expected a whole number from 0 to"),
        (settings(decimal=";"), "has invalid settings (decimal is ;: expected . or ,)"),
        (facts("[]"), "has invalid facts (a list: expected an object)"),
        (facts("null"), "has invalid facts (a NoneType: expected an object)"),
        (lambda extra: extra.update(upto=0), "has invalid upto (0: expected a whole number of at least 1)"),
        (lambda extra: extra.update(upto="9"), "has invalid upto ('9': expected a whole number of at least 1)"),
        (lambda extra: extra.update(feature_names=["a", 1]), "has invalid feature_names (they are not a list of strin"),
        (lambda extra: extra.update(feature_names="ab"), "has invalid feature_names (they are not a list of strings"),
        (lambda extra: extra.pop("facts"), "has invalid facts (a NoneType: expected an object)"),
        (lambda extra: extra.pop("arrays"), "lacks an array losses: expected losses, scale.mean, scale.deviation"),
        (lambda extra: extra.update(arrays=3), "lacks an array losses"),
        (lambda extra: extra["arrays"].pop("scale.mean"), "lacks an array scale.mean: expected losses"),
        (array("more", [1.0]), "has an array more: expected losses, scale.mean, scale.deviation"),
        (lambda extra: extra["arrays"].update(losses=[1.0, 2.0]), "holds losses as  (2,): expected float64 (2,)"),
        (array("losses", [1.0]), "holds losses as float64 (1,): expected float64 (2,), as its settings describe"),
        (lambda extra: extra.pop("job"), "has format xrnn checkpoint: expected a checkpoint; name a file that `xrnn"),
        (lambda extra: extra.update(job=["x"]), "has format ['x']: expected a checkpoint; name a file that `xrnn"),
        (array("scale.mean", [0.0, np.nan]), "holds scale.mean with NaN or infinity: expected finite numbers"),
        (array("scale.mean", [0.0]), "holds scale.mean as float64 (1,): expected float64 (2,)"),
    ],
)
def test_invalid_contents_with_a_valid_digest_are_refused(tmp_path: Path, forge: Change, words: str) -> None:
    save_forged(CLASSIFIER, tmp_path / "c", example(), forge)
    with one_line(CheckpointError, str(tmp_path / "c"), words):
        CLASSIFIER.load(tmp_path / "c")


def with_sgd(snapshot: Snapshot[Any]) -> Any:
    return xrnn.SGD(list(snapshot.layers.values()))


def with_one_layer(snapshot: Snapshot[Any]) -> Any:
    return xrnn.Adam([snapshot.layers["linear"]])


def with_decay(snapshot: Snapshot[Any]) -> Any:
    return xrnn.Adam(list(snapshot.layers.values()), weight_decay=0.1)


@pytest.mark.parametrize("optimizer", [lambda snapshot: None, with_sgd, with_one_layer, with_decay])
def test_another_optimizer_is_refused(tmp_path: Path, optimizer: Callable[[Snapshot[Any]], Any]) -> None:
    snapshot = example()
    other = optimizer(snapshot)
    CLASSIFIER.save(tmp_path / "c", snapshot)
    c = xrnn.load_checkpoint(tmp_path / "c", backend="numpy")
    xrnn.save_checkpoint(tmp_path / "c", snapshot.layers, optimizer=other, extra=c.extra)
    with one_line(CheckpointError, "c holds other layers or another optimizer than its settings describe"):
        CLASSIFIER.load(tmp_path / "c")


def test_a_negative_mean_of_squares_is_refused(tmp_path: Path) -> None:
    snapshot = example()
    snapshot.optimizer.state["v"][0][0, 0] = -1
    CLASSIFIER.save(tmp_path / "c", snapshot)
    with one_line(CheckpointError, "c holds a negative optimizer.0.v.0: expected a mean of squares"):
        CLASSIFIER.load(tmp_path / "c")


def test_a_layer_of_another_kind_is_refused(tmp_path: Path) -> None:
    snapshot = example(replace(TINY, layers=1, cell="rnn"))
    for layer in snapshot.layers["stack"].layers[0].layers:
        layer.nonlinearity = "relu"
    CLASSIFIER.save(tmp_path / "c", snapshot)
    with one_line(CheckpointError, "holds other layers or another optimizer"):
        CLASSIFIER.load(tmp_path / "c")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"dropout": float("nan")}, "dropout is nan: expected a probability in [0, 1), such as 0.3"),
        ({"dropout": -0.1}, "dropout is -0.1: expected a probability in [0, 1)"),
        ({"noise": float("inf")}, "noise is inf: expected a number from 0 to 1000, such as 0.3"),
        ({"cell": "lstn"}, "cell is lstn: expected one of rnn, lstm, gru"),
        ({"batch": 0}, "batch is 0: expected a whole number from 1 to 1048576"),
    ],
)
def test_invalid_settings_get_one_line(setting: dict[str, Any], words: str) -> None:
    with one_line(SettingsError, words):
        ClassifierSettings(**setting)
