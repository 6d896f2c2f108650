"""The parameters of the estimators: defaults and bounds; the documentation's figures are for these. And their files.

Files are read as they were written, or refused before their arrays are allocated. They are files of
`xrnn.save_checkpoint`, whose tests (tests/exchange/test_checkpoint.py) cover their format.
"""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.commands.runs import growth
from tests.errors import one_line
from tests.safetensors_bytes import little_memory
from xrnn.files import FileError
from xrnn.series import Classifier, Forecaster, Regressor
from xrnn.series.errors import SettingsError, param
from xrnn.series.estimator import kind_in
from xrnn.typing import HostArray


def test_the_defaults() -> None:
    defaults = {"model": "auto", "cell": "gru", "hidden": 64, "layers": 1, "one_way": False}
    defaults |= {"dropout": 0.3, "noise": 0.3, "patch": 0, "scaling": "auto", "lr": 0.003, "batch": 32}
    defaults |= {"epochs": None, "window": None, "seed": 0, "channels_first": False}
    assert Regressor().get_params() == defaults
    assert Classifier().get_params() == defaults | {"class_weight": None}


@pytest.mark.parametrize(
    ("name", "fitting", "beyond"),
    [
        *((name, [1, 2**20], [-1, 0, 2**20 + 1]) for name in ("hidden", "batch")),
        ("layers", [1, 100], [-1, 0, 101]),
        ("lr", [1e-9, 1000], [-1, 0, 1000.1, math.inf, math.nan]),
        ("seed", [0, 2**70], [-1]),
        ("dropout", [0, 0.999], [-0.1, 1, 1.5, math.nan]),
        ("noise", [0, 1000], [-0.1, -1, 1000.1, math.inf, math.nan]),
        ("epochs", [None, 1, 10**9], [0, -1, 10**9 + 1]),
        ("patch", [0, 1024], [-1, 1025]),
    ],
)
def test_the_bounds(name: str, fitting: list[Any], beyond: list[Any]) -> None:
    for value in fitting:
        assert getattr(Classifier(**{name: value}).check_params(), name) == value
    for value in beyond:
        with one_line(SettingsError, f"{name} is {value}: expected a "):
            Classifier(**{name: value}).check_params()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"hidden": 2.5}, "hidden is 2.5: expected a whole number from 1 to 1048576"),
        ({"hidden": True}, "hidden is True: expected a whole number"),
        ({"one_way": 1}, "one_way is 1: expected True or False"),
        ({"epochs": 2.5}, "epochs is 2.5: expected a whole number from 1 to 1000000000"),
        ({"lr": "high"}, "lr is 'high': expected a positive number up to 1000"),
        ({"cell": "lstn"}, "cell is 'lstn': expected one of rnn, lstm"),
    ],
)
def test_a_wrong_parameter_is_named(params: dict[str, Any], words: str) -> None:
    with one_line(SettingsError, words):
        Classifier(**params).check_params()


def test_the_name_of_a_parameter_may_have_digits() -> None:
    error = SettingsError(f"{param('L2_decay')} is -1")
    assert (str(error), error.shown(str.upper)) == ("L2_decay is -1", "L2_DECAY is -1")


# ---- files ----

X = np.random.default_rng(0).normal(size=(8, 5, 2))
Y = np.arange(8) % 2


def fitted(kind: Any = Classifier, **params: Any) -> Any:
    if kind is Forecaster:
        series = growth(40)[None]
        return Forecaster(**{"horizon": 3, "season": 4} | params).fit(series)
    return kind(**{"hidden": 4, "epochs": 1, "layers": 2} | params).fit(X, Y)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c"


def arrays_of(estimator: Any) -> dict[str, HostArray]:
    learnt = {name: each for name, each in vars(estimator).items() if name[-1] == "_" and name != "layers_"}
    model = asdict(learnt.pop("model_")) if isinstance(estimator, Forecaster) else {}
    scale = model.pop("known_scale", {})
    layers = vars(estimator).get("layers_", {})
    learnt |= {f"{n}.{key}": p for n, layer in layers.items() for key, p in layer.named_params.items()}
    return {name: np.asarray(each) for name, each in (learnt | model | scale).items()}


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
        assert arrays_of(again).keys() == arrays_of(estimator).keys()
        for one, other in zip(arrays_of(again).values(), arrays_of(estimator).values(), strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
        new = growth(30)[None] if kind is Forecaster else X
        np.testing.assert_array_equal(again.predict(new), estimator.predict(new))
    assert kind_in(path, "") == kind.job
    c = xrnn.load_checkpoint(path, backend="numpy")
    assert (c.layers.keys(), c.optimizer, c.extra["job"]) == (vars(estimator).get("layers_", {}).keys(), None, kind.job)


def test_other_files_are_refused(path: Path) -> None:
    wanted = "expected a checkpoint; name a file that `xrnn classify` wrote"
    fitted(Regressor).save(path)
    with one_line(FileError, f"{path} has format xrnn series regression: {wanted}"):
        Classifier.load(path)
    fitted(Regressor).save(path)  # an estimator of the same kind is replaced
    regressor = path.read_bytes()
    xrnn.save_checkpoint(path, {"linear": xrnn.Linear.init(2, 3, backend="numpy")}, overwrite=True)
    for content in (regressor, regressor[:-8], path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(FileExistsError):
            fitted().save(path)
        assert path.read_bytes() == content
    xrnn.save(path, xrnn.Linear.init(2, 3, backend="numpy"), overwrite=True)
    with one_line(FileError, f"{path} has format xrnn layer: {wanted}"):
        Classifier.load(path)
    path.write_text("To be, or not to be: that is the question")
    with one_line(FileError, f"{path} is not a safetensors file: {wanted}"):
        Classifier.load(path)
    path.unlink()
    with one_line(FileError, f"can't read {path} (No such file or directory): {wanted}"):
        Classifier.load(path)


# ---- forged files: their digest is right ----

Change = Callable[[dict[str, Any]], object]


def params(**changes: object) -> Change:
    return lambda extra: extra["params"].update(changes)


def learnt(**changes: object) -> Change:
    return lambda extra: extra["learnt"].update(changes)


def model(**changes: object) -> Change:
    return lambda extra: extra["learnt"]["model_"].update(changes)


def forge(path: Path, estimator: Any, change: Change, **layers: Any) -> None:
    """Save the estimator after a change of the `extra` in its file."""
    estimator.save(path, overwrite=True)
    c = xrnn.load_checkpoint(path, backend="numpy")
    change(c.extra)
    xrnn.save_checkpoint(path, dict(c.layers) | layers, extra=c.extra, overwrite=True)


NAN = [[0.0, math.nan], [1, 1]]
# Changes of the `extra` of a file, and a word of the refusal.
FORGED: list[tuple[Any, Change, str]] = [
    (Classifier, params(hidden=0), "(hidden is 0: expected a whole number from 1"),
    (Classifier, params(colour="red"), "(colour is no parameter of Classifier; it has model"),
    *((Classifier, lambda extra, n=n: extra.update(params=n), "(") for n in ("{", [1], None)),
    *((Classifier, lambda extra, n=n: extra.update(learnt=n), "(") for n in ("{", [1], None)),
    (Classifier, params(**CONVOLUTIONS), "model_ is recurrent, but model is convolutions"),
    (Classifier, lambda extra: extra["learnt"].update(model_="features"), "("),
    (Classifier, lambda extra: extra["learnt"].update(model_=[]), "("),
    *((Classifier, lambda extra, n=n: extra["learnt"].pop(n), n) for n in ("classes_", "scale_", "losses_", "patch_")),
    *((Classifier, learnt(channels_=n), "(") for n in (3, 0, -1, 2**70)),
    *((Classifier, learnt(patch_=n), "(") for n in (2, 0, -1, 2**70, "1")),
    *((Classifier, learnt(classes_=n), "(") for n in (["a", "b", "c"], ["a"])),
    *((Classifier, learnt(classes_=n), "(") for n in (None, 3, [[1], 2], (0, 1))),
    *((Classifier, learnt(channel_names_=n), "channel_names_") for n in (("x",), (1, 2), "ab")),
    *((Classifier, learnt(reading_=n), "(") for n in ({"decimal": 1}, np.zeros(0), 3, "ab")),
    *((Classifier, learnt(scale_=np.array(n)), "(") for n in (NAN, [[0.0], [1]], [0.0, 1], [[0.0, 0], [0, 1]])),
    (Classifier, learnt(losses_=3), "losses_"),
    (Forecaster, params(layers=2), "(layers is no parameter of Forecaster; it has horizon"),
    (Forecaster, params(quantiles="0.5,2"), "(quantiles is '0.5,2': expected numbers between 0 and 1"),
    (Forecaster, lambda extra: extra["learnt"].pop("model_"), "model_"),
    (Forecaster, learnt(model_=()), "("),
    (Forecaster, model(more=0), "more"),
    *((Forecaster, model(context=n), "model_ has a linear part, a scale, names or levels") for n in (0, 5, 2**70)),
    *((Forecaster, model(season=n), "(") for n in (0, 2**70, -1, "4")),
    *((Forecaster, model(horizon=n), "(") for n in (2, 2**70)),
    (Forecaster, model(known_scale=3), "("),
    *((Forecaster, model(known_scale={"mean": np.ones(1), "deviation": n}), "(") for n in (None, -1, -np.ones(1))),
    (Forecaster, model(channel_names=("a", "b")), "model_ has a linear part, a scale, names or levels"),
    *((Forecaster, model(**{n: 1}), "(") for n in ("step", "channel_names")),
    *((Forecaster, model(levels=n), "(") for n in ((0.1, 0.2, 0.9), np.array([0.1, 0.5, 0.9]), ("x", 0.5, 0.9))),
    (Forecaster, model(calendar="week"), "("),
    *((Forecaster, model(smoothing=n), "(") for n in (math.nan, "1", None)),
    (Forecaster, model(offsets=np.zeros((1, 1))), "("),
    *((Regressor, learnt(target_mean_=n), "(") for n in ("1", math.nan, np.zeros((2, 1)))),
]


@pytest.fixture(scope="module")
def estimators() -> dict[Any, Any]:
    return {kind: fitted(kind) for kind in (Classifier, Regressor, Forecaster)}


@pytest.mark.parametrize(("kind", "change", "words"), FORGED)
def test_a_forged_file_is_refused(
    kind: Any, change: Change, words: str, path: Path, estimators: dict[Any, Any]
) -> None:
    forge(path, estimators[kind], change)
    damaged = f"{path} is damaged, or was written by another version of xrnn ("
    with one_line(FileError, damaged, words, f"; train it again by `{kind.writer}`"):
        kind.load(path)


@pytest.mark.parametrize("job", [None, ["x"]])
def test_a_file_without_a_kind_is_refused(job: Any, path: Path) -> None:
    forge(path, fitted(), lambda extra: extra.update(job=job))
    with one_line(FileError, "expected a checkpoint; name a file that `xrnn classify` wrote"):
        Classifier.load(path)


def test_forged_layers_are_refused(path: Path) -> None:
    forge(path, fitted(), lambda extra: None, linear=xrnn.Linear.init(7, 2, backend="numpy"))
    with one_line(FileError, f"{path} is damaged"):
        Classifier.load(path)
    estimator = fitted()
    estimator.layers_["linear"].params[1][0] = math.inf
    estimator.save(path, overwrite=True)
    with one_line(FileError, "not finite"):
        Classifier.load(path)


def test_a_cut_file_is_refused(path: Path) -> None:
    fitted().save(path)
    path.write_bytes(path.read_bytes()[:-8])
    with one_line(FileError, str(path)):
        Classifier.load(path)


@pytest.mark.parametrize("change", [params(hidden=20000), learnt(patch_=2**20), learnt(channels_=2**20)])
def test_a_forged_size_allocates_nothing(change: Change, path: Path) -> None:
    """The layers are those of the file."""
    forge(path, fitted(layers=1), change)
    with little_memory(path, 100_000), contextlib.suppress(FileError):
        Classifier.load(path)
