"""Classifier and Regressor, from Python."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from datetime import date
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line, refused
from tests.series.waves import waves, write_folder, write_ts
from xrnn.commands.main import main
from xrnn.files import FileError
from xrnn.series import Classifier, NotFittedError, Regressor
from xrnn.series.errors import DataError, SettingsError
from xrnn.series.labelled.base import Watcher
from xrnn.series.reading.files import read_path
from xrnn.typing import HostArray

SMALL: dict[str, Any] = {"hidden": 6, "batch": 4, "lr": 0.02, "epochs": 20}
COMMAND = ["--hidden", "6", "--batch", "4", "--lr", "0.02", "--epochs", "2"]


pytestmark = pytest.mark.usefixtures("workdir")


def data(count: int = 20, seed: int = 0) -> tuple[list[HostArray], list[str]]:
    series = waves(count, seed)
    return [each.values for each in series], [each.label for each in series]


@pytest.mark.parametrize(
    "names",
    [
        ("quick", "slow"),
        (1, 0),
        (True, False),
        (-(2**63), 2**63 - 1),
        (-0.0, 1e300),
        ("", "a\0b"),
    ],
)
def test_a_classifier_learns_labels_of_each_type(names: tuple[Any, Any]) -> None:
    X, y = data()
    labels = [names[label == "slow"] for label in y]
    classifier = Classifier(**SMALL).fit(X, labels)
    assert set(classifier.classes_.tolist()) == set(names)
    assert classifier.score(X, labels) == 1
    with pytest.raises(ValueError, match=f"^y has 1 values, but X has {len(labels)} series; give a value for each$"):
        classifier.score(X, labels[:1])
    assert classifier.predict(X).tolist() == labels
    p = classifier.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(classifier.classes_[p.argmax(axis=1)], classifier.predict(X))
    assert len(classifier.losses_) == 20 * 5
    classifier.save("c")
    assert Classifier.load("c").predict(X).tolist() == labels
    assert repr(Classifier.load("c")).startswith("Classifier(model='auto', cell='gru', hidden=6, layers=1,")


class Interrupted(Watcher):
    def run(self, training: Any, last: int) -> None:
        training.run(1)
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [Classifier, Regressor])
@pytest.mark.parametrize(
    ("change", "watcher", "error"),
    [
        ({"lr": -1}, None, ValueError),
        ({}, Interrupted(), KeyboardInterrupt),
    ],
)
def test_a_failed_fit_keeps_the_model(kind: Any, change: dict[str, Any], watcher: Any, error: Any) -> None:
    X, _ = data()
    y, other = np.arange(20) % 2, 50 + 7 * (np.arange(20) % 3)
    estimator = kind(**SMALL | {"epochs": 1}).fit(X, y)
    predicted = estimator.predict(X)
    params = estimator.get_params()
    estimator.set_params(**change)
    if watcher:
        estimator.watcher = watcher
    with pytest.raises(error):
        estimator.fit([each[:, :1] for each in X], other)
    np.testing.assert_array_equal(estimator.predict(X), predicted)
    estimator.set_params(**params).save("c")
    np.testing.assert_array_equal(kind.load("c").predict(X), predicted)


def test_a_model_of_another_kind_leaves_no_attributes() -> None:
    X, y = data()
    classifier = Classifier(model="convolutions").fit(X, y)
    assert {"longest_", "thresholds_"} <= vars(classifier).keys()
    classifier.set_params(model="recurrent", **SMALL | {"epochs": 1}).fit(X, y)
    assert not {"longest_", "thresholds_"} & vars(classifier).keys()


def test_x_may_be_an_array_or_a_list() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10, 5, 2))
    y = np.arange(10) % 2
    one = Classifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(Classifier(**SMALL).fit([*X], y.tolist()).predict_proba(X), one.predict_proba(X))
    flat = Regressor(**SMALL).fit(X[..., 0], y)
    np.testing.assert_array_equal(Regressor(**SMALL).fit(X[..., :1], y).predict(X[..., 0]), flat.predict([*X[..., 0]]))
    padded = np.pad(X[..., 0], ((0, 0), (0, 3)), constant_values=np.nan)  # NaN at the end is padding
    np.testing.assert_array_equal(flat.predict(padded), flat.predict(X[..., 0]))


def test_an_estimator_trains_as_the_command_does() -> None:
    X, y = data()
    write_ts(Path("f.ts"), waves(20))
    write_ts(Path("other.ts"), waves(4, 1))
    assert main(["classify", "f.ts", "other.ts", *COMMAND]) == 0
    loaded = Classifier.load("classifier.safetensors")
    fitted = Classifier(**SMALL | {"epochs": 2}).fit(X, y)
    assert loaded.get_params() == fitted.get_params()
    assert (fitted.patch, fitted.patch_, loaded.patch_) == (0, 1, 1)  # chosen for short series
    np.testing.assert_array_equal(fitted.predict_proba(X), loaded.predict_proba(X))
    assert loaded.classes_.tolist() == ["quick", "slow"]

    folder = write_folder(Path("numbers"), [replace(each, label=i % 2) for i, each in enumerate(waves(20))])
    write_folder(Path("others"), [replace(each, label=i % 2) for i, each in enumerate(waves(4, 1))])
    assert main(["regress", "numbers", "others", *COMMAND]) == 0
    read = read_path(folder)  # in the order of the names
    regressor = Regressor(**SMALL | {"epochs": 2})
    regressor.fit([each.values for each in read], [float(each.label) for each in read])
    np.testing.assert_array_equal(regressor.predict(X), Regressor.load("regression.safetensors").predict(X))


@pytest.mark.parametrize("labels", [["slow", "quick"], [False, True], [1.0, 2.0]])
def test_the_command_reads_the_file_of_an_estimator(labels: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    X, y = data()
    classifier = Classifier(**SMALL).fit(X, [labels[label == "quick"] for label in y])
    classifier.save("c")
    loaded = Classifier.load("c")
    assert loaded.classes_.tolist() == sorted(labels)
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    np.save("x.npy", X[0])
    assert main(["predict", "c", "x.npy", "--json", "--proba"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["label"], [*got][3:]) == (labels[0], [f"p({label})" for label in sorted(labels)])
    np.testing.assert_allclose([*got.values()][3:], classifier.predict_proba(X[:1])[0], atol=1e-6)
    assert main(["predict", "c", "x.npy"]) == 0
    assert capsys.readouterr().out.startswith(f"name,label,probability\nx.npy,{labels[0]},")


@pytest.mark.needs("pandas", "series")
def test_the_channels_of_a_list_of_frames_have_names() -> None:
    DataFrame: Any = pytest.importorskip("pandas").DataFrame
    X, y = data()
    classifier = Classifier(**SMALL).fit([DataFrame(each, columns=["x", "y"]) for each in X], y)
    assert classifier.channel_names_ == ("x", "y")
    swapped = [DataFrame(each, columns=["y", "x"]) for each in X]
    other = [DataFrame(each, columns=["y", "z"]) for each in X]
    with one_line(DataError, "X[0] has the channel y, but the model has x there"):
        classifier.predict(other)
    with pytest.raises(ValueError, match=r"X\[1\] has the channel y, but X\[0\] has x there"):
        classifier.fit([DataFrame(X[0], columns=["x", "y"]), *swapped[1:]], y)
    classifier.save("c")
    Path("f.csv").write_text("y,x\n" + "".join(f"{b},{a}\n" for a, b in X[0]))  # the command looks them up by name
    assert main(["predict", "c", "f.csv"]) == 0


def test_masked_arrays_are_refused() -> None:
    """NumPy would use the values under the mask."""
    X = np.random.default_rng(0).normal(size=(4, 3, 2))
    y = np.arange(4) % 2
    masked = np.ma.masked_greater(X, 1)
    model = Classifier(**SMALL | {"epochs": 1}).fit(X, y)
    masks: dict[str, Any] = {"X": masked, "X[0]": [*masked], "X[1]": [X[0], [*masked[1]], *X[2:]]}
    for name, given in masks.items():
        for use in (lambda X: Classifier().fit(X, y), model.predict):
            with one_line(ValueError, f"{name} is or holds a masked array; use its fil"):
                use(given)
    for kind in (Classifier, Regressor):
        with one_line(ValueError, "y is or holds a masked array"):
            kind().fit(X, np.ma.masked_equal(y, 0))


STREAMED: list[dict[str, Any]] = [
    {},
    {"one_way": True, "scaling": "each"},
    {"scaling": "each"},
    {"one_way": True, "patch": 4},
    {"one_way": True, "patch": 100},
    {"one_way": True, "cell": "lstm", "layers": 2},
]


@pytest.mark.parametrize("kind", [Classifier, Regressor])
@pytest.mark.parametrize("params", STREAMED, ids=str)
def test_a_prediction_for_a_stream_is_that_for_its_last_rows_alone(kind: Any, params: dict[str, Any]) -> None:
    """Bit for bit: with missing values, within a patch, before and after the window is full."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((T, 2)) for T in (5, 7, 7, 9, 30, 6)]
    y = np.arange(6) % 2
    model = kind(**SMALL | {"epochs": 1} | params).fit(X, y)
    patch = max(params.get("patch", 1), 1)
    assert model.steps_ == -(-7 // patch) * patch  # the median
    rows = rng.standard_normal((30, 2)) + np.arange(30)[:, None]
    rows[3, 0] = rows[20:22] = np.nan
    predict = model.predict_proba if kind is Classifier else model.predict
    for last in (None, 1, 3, 30):
        size = last or model.steps_
        got = [*model.stream(rows, last)]
        assert np.isfinite(got).all()
        for T, found in enumerate(got, start=1):
            window = rows[max(0, T - size) : T]
            # `predict` refuses a channel without a value, and removes last rows without any.
            if not np.isnan(window).all(axis=0).any() and not np.isnan(window[-1]).all():
                np.testing.assert_array_equal(found, predict([window])[0])


def test_convolutions_have_streams_too() -> None:
    X = np.random.default_rng(0).standard_normal((10, 12, 2))
    y = np.arange(10) % 2
    model = Classifier(model="convolutions").fit(X, y)
    rows = X[:2].reshape(-1, 2)
    np.testing.assert_array_equal([*model.stream(rows)][20], model.predict_proba([rows[9:21]])[0])


def test_a_stream_forgets_what_was_before_its_last_rows() -> None:
    """After a long time of one label, the other one is seen at once; the mean over all rows would need as long."""
    rng = np.random.default_rng(0)
    X = rng.normal(0, 0.1, (40, 10, 1))
    X[::2] += 1
    model = Classifier(hidden=8, epochs=20, one_way=True).fit(X, np.arange(40) % 2)
    rows = rng.normal(0, 0.1, (1020, 1))
    rows[:1000] += 1
    before, after = np.split(np.array([*model.stream(rows)])[:, 1], [1000])
    assert (before[10:] < 0.2).all()
    assert (after[9:] > 0.8).all()


def test_a_stream_keeps_only_its_last_rows() -> None:
    X = np.random.default_rng(0).standard_normal((4, 8, 50))
    y = np.arange(4) % 2
    model = Classifier(**SMALL | {"epochs": 1}).fit([*X], y)
    stream = model.stream(np.random.default_rng(i).standard_normal(50) for i in itertools.count())

    def held() -> int:
        for _ in range(300):
            next(stream)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = held()
        growth = held() - first
    finally:
        tracemalloc.stop()
    assert growth < 300 * 50 * 8 / 4  # the rows would take four times as much


def test_the_number_of_last_rows_is_checked() -> None:
    X = np.random.default_rng(0).normal(size=(4, 3, 2))
    y = np.arange(4) % 2
    model = Classifier(**SMALL | {"epochs": 1}).fit(X, y)
    invalid: list[Any] = [0, -1, 2.0, True, 2**31 + 1]
    for last in invalid:
        with pytest.raises(ValueError, match=r"^last is .*: expected a whole number from 1 to 2147483648"):
            model.stream(X[0], last)


def test_channels_are_found_by_their_names() -> None:
    """In DataFrames, and in the rows of a stream: in any order, among other columns."""
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install -e '.[series]'")
    rng = np.random.default_rng(0)
    y = np.arange(4) % 2
    X = [pandas.DataFrame(rng.standard_normal((5, 2)), columns=["x", "y"]) for _ in y]
    model = Classifier(**SMALL | {"epochs": 1}).fit(X, y)
    more = [each.assign(t_s=np.arange(5.0))[["t_s", "y", "x"]] for each in X]
    want = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(more), want)
    assert model.score(more, y) == model.score(X, y)
    levels = pandas.concat(more, keys=range(4))
    np.testing.assert_array_equal(model.predict_proba(levels), want)
    by_name = {name: more[0][name].to_numpy() for name in more[0]}
    mappings = [{name: values[i] for name, values in by_name.items()} for i in range(5)]
    expected = [*model.stream(X[0].to_numpy())]
    for rows in (mappings, [row for _, row in more[0].iterrows()], [row for _, row in X[0].iterrows()]):
        np.testing.assert_array_equal([*model.stream(rows)], expected)
    with pytest.raises(DataError, match=r"^rows\[0\] has no channel 'y'; the model has x, y$"):
        next(model.stream([{"x": 1.0, "z": 2.0}]))
    with pytest.raises(DataError, match=r"^rows\[0\] has no channel 'y'"):
        next(model.stream([pandas.Series({"x": 1.0, "z": 2.0})]))
    unnamed = Classifier(**SMALL | {"epochs": 1}).fit([each.to_numpy() for each in X], y)
    with pytest.raises(DataError, match=r"^rows\[0\] has names, but the channels of the model have none; pass an arr"):
        next(unnamed.stream(mappings))


@pytest.mark.parametrize("names", [[0, 1, 2], [7, 8, 9], ["x", 1, 2.5]])
def test_channels_with_numbers_as_names_are_found_by_them(names: list[Any]) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install -e '.[series]'")
    rng = np.random.default_rng(0)
    y = np.arange(4) % 2
    X = [pandas.DataFrame(rng.standard_normal((5, 3)), columns=names) for _ in y]
    other = [each[[names[2], names[0], names[1]]] for each in X]
    model = Classifier(**SMALL | {"epochs": 1}).fit(X, y)
    want = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(other), want)
    np.testing.assert_array_equal(model.predict_proba(pandas.concat(other, keys=range(4))), want)
    np.testing.assert_array_equal(model.predict_proba([each.to_numpy() for each in X]), want)
    regressor = Regressor(**SMALL | {"epochs": 1}).fit(X, y)
    np.testing.assert_array_equal(regressor.predict(other), regressor.predict(X))
    rows = [row for _, row in other[0].iterrows()]
    expected = [*model.stream(X[0].to_numpy())]
    for given in (rows, [row.to_dict() for row in rows]):
        np.testing.assert_array_equal([*model.stream(given)], expected)
    if names == [0, 1, 2]:  # pandas numbers columns without names: a fit puts them in order too
        mixed = Classifier(**SMALL | {"epochs": 1}).fit([X[0], *other[1:]], y)
        np.testing.assert_array_equal(mixed.predict_proba(X), want)
    else:
        with one_line(DataError, f"X[1] has the channel {names[2]}, but X[0] has {names[0]} there; rename or reorder"):
            model.fit([X[0], *other[1:]], y)


@pytest.mark.parametrize("dtype", ["Int64", "Float32", "boolean", "int32[pyarrow]", "object"])
def test_nullable_frames_have_missing_values(dtype: str) -> None:
    """In arrays, in lists of frames, in a frame with two levels and in the rows of a stream."""
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install -e '.[series]'")
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow", reason="needs pyarrow: pip install -e '.[test]'")
    rng = np.random.default_rng(0)
    y = np.arange(4) % 2
    values = rng.integers(0, 2, (4, 6, 2)).astype(float)
    values[:, 1, 0] = values[:, 3, 1] = np.nan
    X = [pandas.DataFrame(each, columns=["x", "y"]).astype(object).where(~np.isnan(each), pandas.NA) for each in values]
    frames = [each.astype(dtype) for each in X]
    plain = [pandas.DataFrame(each, columns=["x", "y"]) for each in values]
    model = Classifier(**SMALL | {"epochs": 1}).fit(plain, y)
    want = model.predict_proba(plain)
    for given in (frames, pandas.concat(frames, keys=range(4))):
        fitted = Classifier(**SMALL | {"epochs": 1}).fit(given, y)
        np.testing.assert_array_equal(fitted.predict_proba(given), want)
    rows = [row for _, row in frames[0].iterrows()]
    np.testing.assert_array_equal([*model.stream(rows)][-1], [*model.stream(values[0])][-1])
    wide = pandas.DataFrame([each["x"].tolist() for each in frames]).astype(dtype)  # (n, T)
    of_wide = Classifier(**SMALL | {"epochs": 1}).fit(values[..., 0], y)
    np.testing.assert_array_equal(of_wide.predict_proba(wide), of_wide.predict_proba(values[..., 0]))


def test_a_row_of_a_stream_that_does_not_fit_is_refused() -> None:
    X = np.random.default_rng(0).normal(size=(4, 3, 2))
    y = np.arange(4) % 2
    model = Classifier(**SMALL | {"epochs": 1}).fit(X, y)
    for row, words in (
        ([1j, 2.0], "Complex data not supported: rows[1] has dtype complex128; convert it to numbers"),
        (["a", "b"], "rows[1] has dtype str32; convert it to numbers"),
        ([1.0, np.inf], "rows[1] holds inf in column 2; scale the numbers"),
        (np.array(["1.000", 2.0], object), "rows[1] holds the text '1.000'; convert it to numbers"),
        ([1.0], "rows[1] has shape (1,), but the model has 2 channels; pass one value for each"),
        ([[1.0, 2.0]], "rows[1] has shape (1, 2), but the model has 2 channels"),
    ):
        stream = model.stream([[1.0, np.nan], row])
        np.testing.assert_allclose(next(stream).sum(), 1)
        with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
            next(stream)


TIMES = [np.arange(2).astype(dtype) for dtype in ("M8[us]", "m8[D]")]
ONES = np.ones((2, 3))
BAD_LABELS = [
    (IntEnum("Level", "SLOW").SLOW, "y[1] is <Level.SLOW: 1>: expected text, without surr"),  # type: ignore[attr-defined]
    (None, "Unknown label type: y[1] is None: expected text, without surrogates and NUL at its"),
    (float("nan"), "y[1] is nan: expected text"),
    (type("NAType", (), {})(), "y[1] is <"),
    (2**63, "y[1] is 9223372036854775808: expected text"),
    (np.uint64(2**63), "y[1] is 9223372036854775808: expected text"),
    ("\ud800", "y[1] is '\\ud800': expected text, without surr"),
    ("quick\0", "y[1] is 'quick\\x00': expected text, without surr"),
    (float("inf"), "y[1] is inf: expected text"),
    (frozenset({1}), "y[1] is frozenset({1}): expected text"),
    (("a", 1), "y[1] is ('a', 1): expected text"),
    (b"a", "y[1] is b'a': expected text"),
    (np.longdouble(1), "y[1] is np.longdouble('1.0'): expected text"),
    ([1], "y[1] is [1]: expected text"),
    (np.datetime64(1, "ns"), "y[1] is np.datetime64('"),
    (3, "y holds labels of the types int, str; use one type, such as text"),
]


@pytest.mark.parametrize(
    ("kind", "X", "y", "words"),
    [
        *((Classifier, np.ones((4, 3)), ["a", label, "a", label], words) for label, words in BAD_LABELS),
        *(
            (Classifier, ONES, y, f"y is a {type(y).__name__}; give a list or an array with a value for each ser")
            for y in ({"a", "b"}, {"a": 1}, "ab", b"ab", 5, iter("ab"))
        ),
        (Classifier, ONES, [1, 1], "got 1 class(es), [1]; add series with other labels"),
        (Classifier, ONES, None, "requires y to be passed"),
        (Classifier, ONES, [1, 2, 3], "y has 3 values, but X has 2 series; give a value for each"),
        (Classifier, ONES, [0.5, 1.5], "Unknown label type: y[0] is 0.5"),
        (Classifier, ONES, np.ones((2, 2)), "y has shape (2, 2); give a value for each series"),
        *((Classifier, ONES, each, "Unknown label type: y[0] is np.") for each in TIMES),
        (
            Classifier,
            np.ones((3, 3)),
            [True, 1, 0],
            "y holds labels of the types bool, int; use one type, such as text",
        ),
        (Classifier, np.ones(3), [1, 2], "X has shape (3,): expected (n, T) or (n, T, D). Reshape your data"),
        (Classifier, [1.0, 2.0], [1, 2], "X[0] has shape (); give (T,) or (T, D)"),
        (Classifier, [np.ones((3, 2)), np.ones((3, 1))], [1, 2], "X[1] has 1 channels"),
        (
            Classifier,
            np.full((2, 3), np.inf),
            [1, 2],
            "X[0] holds inf in row 1, column 1; scale the numbers to at most 1e+30",
        ),
        (Classifier, np.full((2, 3), np.nan), [1, 2], "X[0] has no values"),
        (Classifier, ONES * 1j, [1, 2], "Complex data not supported"),
        (Regressor, ONES, [1.0, np.nan], "y holds NaN, infinity or a number beyond 1e+30; correct it"),
        (Regressor, np.zeros((0, 3)), [], "got 0 sample(s) without different targets"),
        (
            Regressor,
            ONES,
            [1, 1],
            "got 2 sample(s) without different targets; add series with other targets",
        ),
        (Regressor, ONES, [date(2024, 1, 1)] * 2, "y holds an object that is no number (float() argument must be"),
        (Regressor, ONES, ["1", "2"], "y has dtype str32; convert it to numbers"),
        *((Regressor, ONES, y, f"y has dtype {y.dtype.name}; convert it to numbers") for y in TIMES),
        (Regressor, [TIMES[0]] * 2, [1, 2], "X[0] has dtype datetime64[us]; convert it to numbers"),
    ],
)
def test_bad_data_gets_one_line(kind: Any, X: Any, y: Any, words: str) -> None:
    estimator = kind(**SMALL)
    with pytest.raises((ValueError, TypeError), match=re.escape(words)) as caught:
        estimator.fit(X, y)
    assert "\n" not in str(caught.value)
    with pytest.raises(NotFittedError, match=f"this {kind.__name__} is not fitted; call fit first"):
        estimator.predict(ONES)


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e30])
def test_targets_of_any_size_are_learnt(size: float) -> None:
    X, y = data()
    targets = [size * (label == "slow") for label in y]
    regressor = Regressor(**SMALL).fit(X, targets)
    assert regressor.target_deviation_ == pytest.approx(np.std([label == "slow" for label in y]) * size, rel=1e-12)
    assert regressor.score(X, targets) > 0.9
    assert np.isnan(regressor.score(X, np.ones(20)))
    with one_line(ValueError, "y has 1 values, but X has 20 series; give a value for each"):
        regressor.score(X, targets[:1])
    np.testing.assert_allclose(regressor.predict(X) / size, np.array(targets) / size, atol=0.3)


@pytest.mark.needs("pandas", "series")
def test_two_levels_of_an_index_are_the_series_and_their_steps() -> None:
    pandas: Any = importlib.import_module("pandas")
    X, y = data()
    want = Classifier(**SMALL).fit(X, y).predict_proba(X)
    parts = {f"s{i:02}": pandas.DataFrame(each, columns=["x", "y"]) for i, each in enumerate(X[::-1])}
    frame = pandas.concat(parts, names=["series", "t"]).iloc[::-1]  # the last rows first, and the first series
    classifier = Classifier(**SMALL).fit(frame, y)
    assert classifier.channel_names_ == ("x", "y")
    np.testing.assert_array_equal(classifier.predict_proba(frame), want)


def test_other_errors() -> None:
    X, y = data()
    classifier = Classifier(**SMALL | {"epochs": 1}).fit(X, y)
    names = "size is no parameter of Classifier; it has model, cel"
    refused(
        (ValueError, lambda: Classifier().set_params(size=1), names),
        (DataError, lambda: classifier.predict(ONES), "X[0] has 1 channels, but the model has 2"),
        (SettingsError, lambda: Classifier(epochs=0).fit(X, y), "epochs is 0: expected a whole number from 1"),
        (FileError, lambda: Classifier.load("c"), "can't read c (", ": expected a checkpoint"),
        (FileNotFoundError, lambda: classifier.save("missing/c"), "missing/c"),
    )


BLOCKED = "import sys\nfor name in ('sklearn', 'pandas', 'matplotlib', 'scipy'): sys.modules[name] = None\n"


def blocked(code: str) -> list[str]:
    """The lines that code prints in a process without scikit-learn, pandas, and Matplotlib."""
    command = [sys.executable, "-c", BLOCKED + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_saved_model_predicts_with_numpy_alone() -> None:
    """As in a service. Also fitted there; the import loads nothing else."""
    X = np.random.default_rng(0).normal(size=(8, 4))
    y = np.arange(8) % 2
    Classifier(hidden=4, epochs=1, one_way=True).fit(X, y).save("c")
    Regressor(hidden=4, epochs=1).fit(X, y).save("r")
    np.save("X.npy", X)
    printed = blocked("""
from xrnn.files import FileError
from xrnn.series import Classifier, NotFittedError, Regressor
print(*sys.modules)
import numpy as np
X = np.load("X.npy")
classifier = Classifier.load("c")
print(classifier.predict_proba(X).tolist())
print([*classifier.stream(X[0, :, None])][-1].tolist())
print(Regressor.load("r").predict(X).tolist())
try: Classifier().predict(X)
except NotFittedError as error: print(error)
print(Classifier(hidden=4, epochs=1).fit(X, np.arange(8) % 2).get_params()["hidden"])
""")
    assert not {"rich", "typer", "safetensors"} & {*printed.pop(0).split()}
    np.testing.assert_allclose(json.loads(printed[0]), Classifier.load("c").predict_proba(X), rtol=1e-6)
    np.testing.assert_allclose(json.loads(printed[1]), Classifier.load("c").predict_proba(X)[0], rtol=1e-5)
    np.testing.assert_allclose(json.loads(printed[2]), Regressor.load("r").predict(X), rtol=1e-6)
    assert printed[3:] == ["this Classifier is not fitted; call fit first", "4"]


def test_more_channels_than_steps_give_a_warning() -> None:
    X = np.random.default_rng(0).standard_normal((6, 2, 9))
    y = np.arange(6) % 2
    for kind in (Classifier, Regressor):
        with pytest.warns(
            UserWarning, match=r"^X has shape \(6, 2, 9\): .* 2 steps of 9 channels; .* channels_first=True"
        ):
            kind(**SMALL).fit(X, y)
        kind(**SMALL).fit([*X], y).predict(X)  # no warning


def test_channels_may_come_first() -> None:
    """As in arrays of aeon and sktime."""
    rng = np.random.default_rng(0)
    y = np.arange(8) % 2
    X = rng.standard_normal((8, 3, 2)) + y[:, None, None]
    for kind in (Classifier, Regressor):
        plain = kind(model="features").fit(X, y)
        first = kind(model="features", channels_first=True).fit(X.swapaxes(1, 2), y)  # no warning: 2 channels, 3 steps
        for given in (X.swapaxes(1, 2), [*X.swapaxes(1, 2)]):
            np.testing.assert_array_equal(first.predict(given), plain.predict(X))
            assert first.score(given, y) == plain.score(X, y)
        with one_line(DataError, "X[0] has 3 channels, but the model has 2"):
            first.predict(X)


@pytest.mark.parametrize("params", [{"model": "features"}, {"model": "convolutions"}, {**SMALL, "epochs": 3}], ids=str)
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_series_without_weight_changes_nothing(kind: Any, params: dict[str, Any]) -> None:
    X, labels = data(12)
    y = labels if kind is Classifier else [float(label == "quick") for label in labels]
    weight = np.ones(12)
    weight[[2, 5]] = 0
    model = kind(**params).fit([*X[:2], X[2] + 9, *X[3:5], X[5] - 9, *X[6:]], y, sample_weight=weight)
    kept = np.flatnonzero(weight)
    without = kind(**params).fit([X[i] for i in kept], [y[i] for i in kept])
    np.testing.assert_allclose(model._predict(X), without._predict(X), rtol=1e-6)


@pytest.mark.parametrize("params", [{"model": "features"}, {"model": "convolutions"}, {**SMALL, "epochs": 30}], ids=str)
def test_weights_of_labels_are_those_of_their_series(params: dict[str, Any]) -> None:
    """A heavy label is predicted more often; a dict and `sample_weight` with the same weights give the same model."""
    rng = np.random.default_rng(0)
    y = ["often"] * 16 + ["rare"] * 8
    X = [rng.normal(label == "rare", 3.0, (12, 2)) for label in y]
    plain, heavy = (Classifier(**params, class_weight=each).fit(X, y) for each in (None, {"rare": 5}))
    of_rare = 1
    assert heavy.predict_proba(X)[:, of_rare].mean() > plain.predict_proba(X)[:, of_rare].mean() + 0.02
    same = Classifier(**params).fit(X, y, sample_weight=[1 if each == "often" else 5 for each in y])
    np.testing.assert_array_equal(same.predict_proba(X), heavy.predict_proba(X))
    balanced = Classifier(**params, class_weight="balanced").fit(X, y)
    doubled = Classifier(**params, class_weight=[("rare", 2)]).fit(X, y)
    np.testing.assert_allclose(balanced.predict_proba(X), doubled.predict_proba(X), rtol=1e-4)
    assert heavy.score(X, y, sample_weight=np.array(y) == "rare") == np.mean(heavy.predict(X)[16:] == "rare")


def test_weights_of_labels_are_saved(workdir: None) -> None:
    X, y = data(12)
    for given, kept in ((None, None), ("balanced", "balanced"), ({"quick": 2}, (("quick", 2.0),)), ("quick=2", None)):
        model = Classifier(model="features", class_weight=given).fit(X, y)
        model.save("model")
        loaded = Classifier.load("model")
        assert loaded.class_weight == (kept or model.check_params().class_weight)
        np.testing.assert_array_equal(loaded.fit(X, y).predict_proba(X), model.predict_proba(X))
    assert model.check_params().class_weight == (("quick", 2.0),)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("even", "is [('', None)]: expected balanced, or a number from 0 for each named label, such as worn=3,good=1"),
        ({"quick": -1}, "is {'quick': -1}: expected balanced, or a number from 0"),
        ({"quick": "x"}, "is {'quick': 'x'}: expected balanced, or a number from 0"),
        ([], "is []: expected balanced, or a number from 0"),
        (3, "is 3: expected balanced, or a number from 0"),
        ({"fast": 2}, "has the label 'fast', which no series has; the labels are quick, slow"),
        ("quick=0,slow=0", "is 0 for all labels; give one a weight above 0"),
    ],
)
def test_bad_weights_of_labels_get_one_line(given: Any, words: str) -> None:
    with one_line(SettingsError, f"class_weight {words}"):
        Classifier(class_weight=given).fit(*data(12))


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([1, 2], "has shape (2,), but y has 12 values; Sample weights must be 1D array or scalar"),
        ([*[1] * 11, -1], "must hold numbers from 0, and not all of them zero; correct it"),
        ([np.nan] * 12, "must hold numbers from 0, and not all of them zero; correct it"),
        (0, "must hold numbers from 0, and not all of them zero; correct it"),
    ],
)
def test_bad_weights_of_series_get_one_line(weight: Any, words: str) -> None:
    X, y = data(12)
    with one_line(ValueError, f"sample_weight {words}"):
        Classifier().fit(X, y, sample_weight=weight)
    with one_line(ValueError, f"sample_weight {words}"):
        Regressor().fit(X, range(12), sample_weight=weight)


def test_a_channel_that_rises_steadily_is_named() -> None:
    """As by the command: seconds in a column become a channel, and the model would learn how long a recording is."""
    pandas: Any = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    y = [0, 1] * 3
    plain = [pandas.DataFrame({"x": rng.standard_normal(9), "y": rng.standard_normal(9)}) for _ in y]
    X = [each.assign(t_s=np.arange(9) / 10) for each in plain]
    text = re.escape("t_s rises or falls steadily in every series, and is a channel of the model: if it is a time or a")
    for kind in (Classifier, Regressor):
        for given in (X, pandas.concat(X, keys=range(6))):
            with pytest.warns(UserWarning, match=rf"^{text} row number, leave it out by drop\(columns=\['t_s'\]\)$"):
                kind(**SMALL).fit(given, y)
        kind(**SMALL).fit(plain, y)  # no warning
        kind(**SMALL).fit([each[["t_s"]] for each in X], y)  # a single channel is the signal
