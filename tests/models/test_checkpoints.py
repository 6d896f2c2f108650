"""The files of every kind of model: read as they were written, or refused before their arrays are allocated.

They are files of `xrnn.save_checkpoint`, whose tests (tests/exchange/test_checkpoint.py) cover their format.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.errors import one_line
from tests.forge import Forgery, little_memory
from tests.models.kinds import FORECASTS, SUBJECTS, Subject, name_of
from tests.models.snapshots import assert_equal, save_forged
from xrnn.models.checkpoint import Snapshot
from xrnn.models.errors import CheckpointError

every_kind = pytest.mark.parametrize("subject", SUBJECTS, ids=name_of)
OTHERS = "holds other layers or another optimizer than its settings describe: expected those"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c"


@every_kind
@pytest.mark.parametrize("updates", [0, 2])
def test_a_checkpoint_is_read_back_bit_for_bit(subject: Subject, updates: int, path: Path) -> None:
    """`xrnn.load_checkpoint` reads it too."""
    snapshot = subject.train(path.parent, updates=updates).snapshot()
    path.write_bytes(subject.kind.content(snapshot))
    assert_equal(subject.kind.load(path), snapshot)
    assert subject.kind.wrote(path)
    c = xrnn.load_checkpoint(path, backend="numpy")
    assert c.layers.keys() == snapshot.layers.keys()
    assert (type(c.optimizer), c.optimizer.steps, c.extra["job"]) == (xrnn.Adam, updates, subject.kind.name)


@every_kind
def test_heads_are_kept(subject: Subject, path: Path) -> None:
    snapshot = subject.snapshot(path.parent, heads=2)
    path.write_bytes(subject.kind.content(snapshot))
    assert_equal(subject.kind.load(path), snapshot)
    shapes = [param.shape for name, param in snapshot.layers["stack"].named_params.items() if name.endswith("Wh")]
    assert all(shape[0] == 2 and len(shape) == 3 for shape in shapes)
    save_forged(subject.kind, path, snapshot, lambda extra: extra["settings"].update(heads=1))
    with one_line(CheckpointError, ".Wh as float32 (2, ", "by its settings; name a file that"):
        subject.kind.load(path)


@every_kind
def test_a_snapshot_can_be_copied_and_pickled(subject: Subject, path: Path) -> None:
    snapshot = subject.snapshot(path.parent)
    for again in (copy.deepcopy(snapshot), pickle.loads(pickle.dumps(snapshot))):
        assert_equal(again, snapshot)
        assert again.layers["linear"].W is not snapshot.layers["linear"].W
        trained = [layer for name, layer in again.layers.items() if not name.startswith("best.")]
        assert again.optimizer.layers == trained


# ---- other files ----


@every_kind
def test_other_files_are_refused(subject: Subject, path: Path) -> None:
    kind, wanted = subject.kind, f"expected a checkpoint; name a file that `{subject.kind.writer}` wrote"
    for other in SUBJECTS:
        if other is not subject:
            path.write_bytes(other.kind.content(other.snapshot(path.parent)))
            with one_line(CheckpointError, f"{path} has format {other.kind.name}: {wanted}"):
                kind.load(path)
            assert not kind.wrote(path)
    xrnn.save(path, xrnn.Linear.init(2, 3, backend="numpy"), overwrite=True)
    with one_line(CheckpointError, f"{path} has format xrnn layer: {wanted}"):
        kind.load(path)
    path.write_text("To be, or not to be: that is the question")
    with one_line(CheckpointError, f"{path} is not a safetensors file: {wanted}"):
        kind.load(path)
    path.unlink()
    with one_line(CheckpointError, f"can't read {path} (No such file or directory): {wanted}"):
        kind.load(path)
    assert not kind.wrote(path)


@every_kind
def test_a_changed_setting_is_noticed(subject: Subject, path: Path) -> None:
    path.write_bytes(subject.kind.content(subject.snapshot(path.parent)))
    path.write_bytes(path.read_bytes().replace(b'"seed', b'"sead'))
    with one_line(CheckpointError, "was changed after it was written: expected content that gives its digest; use"):
        subject.kind.load(path)


@every_kind
def test_a_version_prints_no_control_characters(subject: Subject, path: Path) -> None:
    path.write_bytes(subject.kind.content(subject.snapshot(path.parent)))
    forgery = Forgery.of(path.read_bytes())
    forgery.metadata["version"] = "\x1b]0;title\x07"
    with one_line(CheckpointError, "has version �]0;title�: expected 1; use the xrnn that wrote it"):
        subject.kind.load(forgery.write(path))


# ---- forged files: their digest is right ----

Change = Callable[[dict[str, Any]], object]


def settings(**changes: object) -> Change:
    return lambda extra: extra["settings"].update(changes)


def facts(**changes: object) -> Change:
    return lambda extra: extra["facts"].update(changes)


def array(name: str, values: object) -> Change:
    return lambda extra: extra["arrays"].update({name: np.array(values)})


def entry(**changes: object) -> Change:
    return lambda extra: extra.update(changes)


# Changes of the `extra` of a file, and the words of the refusal.
FORGED: list[tuple[Change, str]] = [
    *(
        (settings(**{name: value}), f"has invalid settings ({words}")
        for name, value, words in [
            ("hidden", 0, "hidden is 0: expected a whole number from 1"),
            ("hidden", "3", "hidden is a str: expected int)"),
            ("hidden", 3.0, "hidden is a float: expected int)"),
            ("hidden", True, "hidden is a bool: expected int)"),
            ("hidden", [3], "hidden is a list: expected int)"),
            ("seed", None, "seed is a NoneType: expected int)"),
            ("cell", "lstn", "cell is lstn: expected one of rnn, lstm"),
            ("lr", 1e300, "lr is 1e+300: expected a positive number up to 1000"),
            ("lr", 10**400, ""),
            ("colour", "red", "colour is unknown: expected cell, hidden"),
        ]
    ),
    *((entry(settings=value), "has invalid settings (a ") for value in ("{hidden: 3", "", [1, 2])),
    (settings(layers=3), OTHERS),
    (lambda extra: settings(cell="lstm" if extra["settings"]["cell"] == "rnn" else "rnn")(extra), OTHERS),
    (lambda extra: extra.pop("job"), "has format xrnn checkpoint: expected a checkpoint; name a file that `xrnn"),
    (entry(job=["x"]), "has format ['x']: expected a checkpoint; name a file that `xrnn"),
    (lambda extra: extra.pop("arrays"), "lacks an array losses: expected losses"),
    (entry(arrays=3), "lacks an array losses"),
    (lambda extra: extra["arrays"].pop("losses"), "lacks an array losses: expected losses"),
    (array("\x1b[2J", [1.0]), "has an array �[2J: expected losses"),
    (lambda extra: extra["arrays"].update(losses=[1.0, 2.0]), "holds losses as  (2,): expected float64 (2,)"),
    (array("losses", [1.0]), "holds losses as float64 (1,): expected float64 (2,), as its settings describe"),
    (array("losses", np.ones(2, "float32")), "holds losses as float32 (2,): expected float64 (2,)"),
    (array("losses", [1.0, math.nan]), "holds losses with NaN or infinity: expected finite numbers"),
    *(
        (array("losses", [1.0, value]), "holds losses out of range: expected 0 to 1e+39")
        for value in (-1.0, 1e300, np.nextafter(-1e-5, -1), np.nextafter(1e39, 2e39))
    ),
    (entry(upto=0), "has invalid upto (0: expected a whole number of at least 1)"),
    (entry(upto="9"), "has invalid upto ('9': expected a whole number of at least 1)"),
    (entry(feature_names=["a", 1]), "has invalid feature_names (they are not a list of strings"),
    (entry(feature_names="ab"), "has invalid feature_names (they are not a list of strings"),
    (lambda extra: extra["settings"].pop("batch"), "has invalid settings (batch is missing: expected all settings)"),
]
# Besides, of a kind.
FORGED_KIND: list[tuple[Subject, Change, str]] = [
    *(
        (FORECASTS, change, f"has invalid facts ({words}: expected an object)")
        for change, words in [
            (entry(facts=[]), "a list"),
            (entry(facts=None), "a NoneType"),
            (lambda extra: extra.pop("facts"), "a NoneType"),
        ]
    ),
    (FORECASTS, facts(more=0), "has invalid facts (they have other names: expected "),
    (FORECASTS, facts(context=0), "has invalid facts (context is 0: expected a whole number from 1"),
    (FORECASTS, facts(season=7), "has invalid facts (season is larger than context"),
    (FORECASTS, facts(horizon=True), "has invalid facts (horizon is True: expected a whole number"),
    (FORECASTS, facts(channel_names=["a", "b"]), "has invalid facts (channel_names has 2 names: expected 1"),
    (FORECASTS, facts(channel_names="a"), "has invalid facts (channel_names is not a list of strings"),
    (FORECASTS, lambda extra: extra["facts"].pop("step"), "has invalid facts (they have other names: expected context"),
    (FORECASTS, facts(step=1), "has invalid facts (step is not a string"),
]


@pytest.mark.parametrize(
    ("subject", "forge", "words"),
    [*((subject, *row) for subject in SUBJECTS for row in FORGED), *FORGED_KIND],
    ids=lambda value: name_of(value) if isinstance(value, Subject | str) else "",
)
def test_a_forged_checkpoint_is_refused(subject: Subject, forge: Change, words: str, path: Path) -> None:
    save_forged(subject.kind, path, subject.snapshot(path.parent), forge)
    with one_line(CheckpointError, str(path), words):
        subject.kind.load(path)


@every_kind
def test_a_forged_size_allocates_nothing(subject: Subject, path: Path) -> None:
    snapshot = subject.snapshot(path.parent, layers=1)
    save_forged(subject.kind, path, snapshot, settings(hidden=20000))
    with little_memory(path, 100_000), one_line(CheckpointError, "0000) by its settings"):
        subject.kind.load(path)
    snapshot.optimizer.steps = 10**15 - 1
    path.write_bytes(subject.kind.content(snapshot))
    with little_memory(path, 100_000), one_line(CheckpointError, f"expected float64 ({'9' * 15},)"):
        subject.kind.load(path)


@every_kind
@pytest.mark.parametrize("value", [-1e-5, 0.0, 1e39])
def test_the_lowest_and_the_highest_loss_are_read(subject: Subject, value: float, path: Path) -> None:
    save_forged(subject.kind, path, subject.snapshot(path.parent), array("losses", [value] * 2))
    assert (subject.kind.load(path).arrays["losses"] == value).all()


@every_kind
def test_weights_and_moments_are_checked(subject: Subject, path: Path) -> None:
    spoilt: list[tuple[Callable[[Snapshot[Any]], Any], str]] = [
        (lambda s: s.layers["linear"].params[1], "b with NaN or infinity: expected"),
        (lambda s: s.optimizer.state["m"][0], "holds optimizer.0.m.0 with NaN or infinity"),
        (lambda s: s.optimizer.state["v"][0], "holds optimizer.0.v.0 with NaN or infinity"),
    ]
    for spoil, words in spoilt:
        snapshot = subject.snapshot(path.parent)
        spoil(snapshot).flat[0] = math.inf
        path.write_bytes(subject.kind.content(snapshot))
        with one_line(CheckpointError, words):
            subject.kind.load(path)
    snapshot = subject.snapshot(path.parent)
    snapshot.optimizer.state["v"][0].flat[0] = -1
    path.write_bytes(subject.kind.content(snapshot))
    with one_line(CheckpointError, "holds a negative optimizer.0.v.0: expected a mean of squares"):
        subject.kind.load(path)


def with_sgd(snapshot: Snapshot[Any]) -> Any:
    return xrnn.SGD(list(snapshot.layers.values()))


def with_one_layer(snapshot: Snapshot[Any]) -> Any:
    return xrnn.Adam([snapshot.layers["linear"]])


def with_decay(snapshot: Snapshot[Any]) -> Any:
    return xrnn.Adam(list(snapshot.layers.values()), weight_decay=0.1)


@every_kind
@pytest.mark.parametrize("optimizer", [lambda snapshot: None, with_sgd, with_one_layer, with_decay])
def test_another_optimizer_is_refused(subject: Subject, optimizer: Callable[[Snapshot[Any]], Any], path: Path) -> None:
    snapshot = subject.snapshot(path.parent)
    other = optimizer(snapshot)
    path.write_bytes(subject.kind.content(snapshot))
    c = xrnn.load_checkpoint(path, backend="numpy")
    xrnn.save_checkpoint(path, snapshot.layers, optimizer=other, extra=c.extra)
    with one_line(CheckpointError, "c holds other layers or another optimizer than its settings describe"):
        subject.kind.load(path)
