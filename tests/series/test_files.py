"""The files of estimators: read as they were written, or refused before their arrays are allocated.

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
from tests.commands.runs import growth
from tests.errors import one_line
from tests.forge import little_memory
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import CheckpointError
from xrnn.series.files import kind_in
from xrnn.typing import HostArray

OTHERS = "holds other layers than its parameters describe: expected those"
X, Y = np.random.default_rng(0).normal(size=(8, 5, 2)), np.arange(8) % 2


def fitted(kind: Any = Classifier, **params: Any) -> Any:
    if kind is Forecaster:
        series = growth(40)[None]
        return Forecaster(**{"horizon": 3, "context": 6, "season": 4} | params).fit(series)
    return kind(**{"hidden": 4, "epochs": 1, "layers": 2} | params).fit(X, Y)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c"


def arrays_of(estimator: Any) -> list[HostArray]:
    layers = [param for layer in vars(estimator).get("layers_", {}).values() for param in layer.params]
    return [*layers, *(np.asarray(getattr(estimator, f"{name}_")) for name in estimator._shapes())]


CONVOLUTIONS: dict[str, Any] = {"model": "convolutions", "hidden": 64, "epochs": None, "layers": 1}
LABELLED = [
    {},
    {"patch": 2, "scaling": "each"},
    CONVOLUTIONS,
]


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        *((kind, params) for kind in (Classifier, Regressor) for params in LABELLED),
        *((Forecaster, params) for params in ({}, {"quantiles": [0.2, 0.7]})),
    ],
    ids=str,
)
def test_a_fitted_estimator_is_read_copied_and_pickled_bit_for_bit(
    kind: Any, params: dict[str, Any], path: Path
) -> None:
    """`xrnn.load_checkpoint` reads the file too."""
    estimator = fitted(kind, **params)
    estimator.save(path)
    for again in (kind.load(path), copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert again.check_params().get_params() == estimator.check_params().get_params()
        for name in estimator._learnt():
            np.testing.assert_array_equal(getattr(again, name), getattr(estimator, name))
        for one, other in zip(arrays_of(again), arrays_of(estimator), strict=True):
            np.testing.assert_array_equal(one, other)
        new = growth(30)[None] if kind is Forecaster else X
        np.testing.assert_array_equal(again.predict(new), estimator.predict(new))
        assert arrays_of(again)[-1] is not arrays_of(estimator)[-1]
    assert kind_in(path, "") == kind.job
    c = xrnn.load_checkpoint(path, backend="numpy")
    assert (c.layers.keys(), c.optimizer, c.extra["job"]) == (vars(estimator).get("layers_", {}).keys(), None, kind.job)


def test_other_files_are_refused(path: Path) -> None:
    wanted = "expected a checkpoint; name a file that `xrnn classify` wrote"
    fitted(Regressor).save(path)
    with one_line(CheckpointError, f"{path} has format xrnn series regression: {wanted}"):
        Classifier.load(path)
    with pytest.raises(FileExistsError):
        fitted().save(path)
    xrnn.save(path, xrnn.Linear.init(2, 3, backend="numpy"), overwrite=True)
    with one_line(CheckpointError, f"{path} has format xrnn layer: {wanted}"):
        Classifier.load(path)
    path.write_text("To be, or not to be: that is the question")
    with one_line(CheckpointError, f"{path} is not a safetensors file: {wanted}"):
        Classifier.load(path)
    path.unlink()
    with one_line(CheckpointError, f"can't read {path} (No such file or directory): {wanted}"):
        Classifier.load(path)


# ---- forged files: their digest is right ----

Change = Callable[[dict[str, Any]], object]


def params(**changes: object) -> Change:
    return lambda extra: extra["params"].update(changes)


def learnt(**changes: object) -> Change:
    return lambda extra: extra["learnt"].update(changes)


def facts(**changes: object) -> Change:
    return lambda extra: extra["learnt"]["facts_"].update(changes)


def array(name: str, values: object) -> Change:
    return lambda extra: extra["arrays"].update({name: np.array(values)})


def forge(path: Path, estimator: Any, change: Change, **layers: Any) -> None:
    """Save the estimator after a change of the `extra` in its file."""
    estimator.save(path, overwrite=True)
    c = xrnn.load_checkpoint(path, backend="numpy")
    change(c.extra)
    xrnn.save_checkpoint(path, dict(c.layers) | layers, extra=c.extra, overwrite=True)


OLD = "was written by another version of xrnn: expected this one; train the model again"
NAMES = "has invalid learnt (channel_names_ "
# Changes of the `extra` of a file, and the words of the refusal.
FORGED: list[tuple[Any, Change, str]] = [
    (Classifier, params(hidden=0), "has invalid params (hidden is 0: expected a whole number from 1"),
    (Classifier, params(lr=10**400), "has invalid params"),
    (Classifier, params(colour="red"), "has invalid params (colour is no parameter of Classifier"),
    *((Classifier, lambda extra, n=n: extra.update(params=n), "has invalid params (a ") for n in ("{", [1], None)),
    *((Classifier, lambda extra, n=n: extra.update(learnt=n), "has invalid learnt (a ") for n in ("{", [1], None)),
    (Classifier, lambda extra: extra.update(arrays=3), "has invalid arrays (a int: expected an object)"),
    (Classifier, lambda extra: extra.pop("job"), "has format xrnn checkpoint: expected a checkpoint; name a file"),
    (Classifier, lambda extra: extra.update(job=["x"]), "has format ['x']: expected a checkpoint; name a file that"),
    (Classifier, params(layers=3), OTHERS),
    (Classifier, params(cell="lstm"), OTHERS),
    (Classifier, params(one_way=True), OTHERS),
    (Classifier, learnt(channels_=3), "expected float32 (3, 12) by its parameters"),
    (Classifier, learnt(patch_=2), "expected float32 (8, 12) by its parameters"),
    (Classifier, learnt(scaling_="none"), "has invalid learnt (scaling_ is 'none': expected one of shared, each)"),
    (Classifier, params(**CONVOLUTIONS), OLD),
    (Classifier, learnt(classes_=["a", "b", "c"]), "expected float32 (8, 3) by its parameters"),
    (Classifier, lambda extra: extra["learnt"].pop("classes_"), OLD),
    (Classifier, learnt(channels_=2**20 + 1), "has invalid learnt (channels_ is 1048577: expected a whole"),
    *(
        (Classifier, learnt(classes_=n), f"has invalid learnt (classes_ is {n!r}: expected at least two different")
        for n in (["a"], ["a", "a"], [[1], 2], "ab", [1, 2**70], [1, math.nan], [1, "a"])
    ),
    (Classifier, learnt(channel_names_=["x"]), NAMES + "has 1 names: expected 2)"),
    (Classifier, learnt(channel_names_="xy"), NAMES + "is 'xy': expected a list of text)"),
    (Classifier, learnt(channel_names_=[1, 2]), NAMES + "is [1, 2]: expected a list of text)"),
    (Classifier, learnt(reading_={"decimal": 1}), "has invalid learnt (reading_ is {'decimal': 1}: expected the"),
    (Classifier, lambda extra: extra["arrays"].pop("scale"), "lacks an array scale: expected losses, scale"),
    (Classifier, array("\x1b[2J", [1.0]), "has an array �[2J: expected losses"),
    (Classifier, array("scale", [[0.0, np.nan], [1, 1]]), "holds scale with NaN or infinity: expected finite numbers"),
    (Classifier, array("scale", [0.0]), "holds scale as float64 (1,): expected float64 (2, 2)"),
    (Classifier, array("losses", np.ones(2, "float32")), "holds losses as float32 (2,): expected float64 (-1,)"),
    (Classifier, lambda extra: extra["arrays"].update(losses=[1.0]), "holds losses as  (1,): expected float64"),
    (Forecaster, params(layers=2), "has invalid params (layers is no parameter of Forecaster: expected horizon"),
    (
        Forecaster,
        params(quantiles="0.5,2"),
        "has invalid params (quantiles is '0.5,2': expected numbers between 0 and 1",
    ),
    (Forecaster, learnt(facts_=[]), "has invalid learnt (facts_ has other names: expected context"),
    (Forecaster, facts(more=0), "has invalid learnt (facts_ has other names: expected context"),
    (Forecaster, facts(context=0), "has invalid learnt (context is 0: expected a whole number from 1"),
    (
        Forecaster,
        facts(context=5),
        "holds linear as float64 (7, 3): expected float64 (6, 3), as its parameters describe",
    ),
    (Forecaster, facts(season=7), "has invalid learnt (season is larger than context"),
    (Forecaster, facts(horizon=True), "has invalid learnt (horizon is True: expected a whole number"),
    (Forecaster, facts(channel_names=["a", "b"]), "has invalid learnt (channel_names has 2 names: expected 1"),
    (Forecaster, facts(channel_names="a"), "has invalid learnt (channel_names is 'a': expected a list of text"),
    (Forecaster, facts(step=1), "has invalid learnt (step is 1: expected text"),
    (Forecaster, facts(log=1), "has invalid learnt (log is 1: expected True or False"),
    (
        Forecaster,
        facts(calendar=["week"]),
        "has invalid learnt (calendar is ['week']: expected week, year or empty text",
    ),
    (Forecaster, learnt(smoothing_=math.nan), "has invalid learnt (smoothing_ is nan: expected a number from 0"),
    (Forecaster, array("offsets", [[0.0]]), "holds offsets as float64 (1, 1): expected float64 (3, 3)"),
    (Regressor, learnt(target_mean_="1"), "has invalid learnt (target_mean_ is '1': expected a number from -1e+30"),
    (Regressor, learnt(target_mean_=math.nan), "has invalid learnt (target_mean_ is nan: expected a number from"),
    (Regressor, learnt(target_deviation_=0.0), "(target_deviation_ is 0.0: expected a positive number)"),
]


@pytest.fixture(scope="module")
def estimators() -> dict[Any, Any]:
    return {kind: fitted(kind) for kind in (Classifier, Regressor, Forecaster)}


@pytest.mark.parametrize(("kind", "change", "words"), FORGED)
def test_a_forged_file_is_refused(
    kind: Any, change: Change, words: str, path: Path, estimators: dict[Any, Any]
) -> None:
    forge(path, estimators[kind], change)
    with one_line(CheckpointError, str(path), words):
        kind.load(path)


def test_forged_layers_are_refused(path: Path) -> None:
    estimator = fitted(cell="rnn", one_way=True)
    estimator.layers_["stack"].layers[0].nonlinearity = "relu"
    estimator.save(path)
    with one_line(CheckpointError, OTHERS):
        Classifier.load(path)
    estimator = fitted()
    estimator.layers_["linear"].params[1][0] = math.inf
    estimator.save(path)
    with one_line(CheckpointError, ".b with NaN or infinity: expected finite numbers"):
        Classifier.load(path)


def test_a_forged_size_allocates_nothing(path: Path) -> None:
    forge(path, fitted(layers=1), params(hidden=20000))
    with little_memory(path, 100_000), one_line(CheckpointError, "0000) by its parameters"):
        Classifier.load(path)
