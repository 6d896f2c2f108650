"""Windows: few long series as many examples. The answer about a series is the mean over its windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.series.faults import recordings
from xrnn.series import Classifier, Regressor
from xrnn.series.errors import SettingsError
from xrnn.series.labelled import windows
from xrnn.series.labelled.base import Task, factor_of, probabilities, targets_of, weights_of
from xrnn.series.labelled.features import Features
from xrnn.series.labelled.kinds import Chosen, choose_kind
from xrnn.series.labelled.splits import parts_of
from xrnn.series.labelled.windows import Windows, rows_to_try
from xrnn.series.one_series import Series

OPTIONS: dict[str, dict[str, Any]] = {
    "features": {},
    "convolutions": {},
    "recurrent": {"hidden": 3, "epochs": 2, "patch": 4},
}


def series(*lengths: int) -> list[Series]:
    return [Series(np.arange(T, dtype=float)[:, None], i % 2, f"s{i}") for i, T in enumerate(lengths)]


def test_windows_end_at_the_last_row_and_share_the_weight_of_their_series() -> None:
    cut = Windows.of(series(10, 3, 4, 8), 4)
    rows = [each.values[[0, -1], 0].astype(int).tolist() for each in cut.series]
    assert rows == [[2, 5], [6, 9], [0, 2], [0, 3], [0, 3], [4, 7]]
    assert cut.owners.tolist() == [0, 0, 1, 2, 3, 3]
    assert [each.weight for each in cut.series] == [0.5, 0.5, 1, 1, 0.5, 0.5]
    assert [each.label for each in cut.series] == [0, 0, 1, 0, 1, 1]
    whole = Windows.of(series(10, 3), 0)
    assert [len(each.values) for each in whole.series] == [10, 3]
    assert [each.group for each in whole.series] == [None, None]


def test_the_mean_over_the_windows_of_each_series() -> None:
    cut = Windows.of(series(8, 3, 8), 4)
    values = np.array([[1, 2], [3, 4], [5, 6], [np.nan, 0], [7, 8]])
    np.testing.assert_array_equal(cut.mean(values), [[2, 3], [5, 6], [7, 8]])
    np.testing.assert_array_equal(cut.mean(values[:, 1]), [3, 6, 4])
    values[2] = np.nan
    np.testing.assert_array_equal(cut.mean(values), [[2, 3], [np.nan, np.nan], [7, 8]])
    whole = Windows.of(series(2, 2), 0)
    p = np.array([[0.1, 0.9], [0.3, 0.7]])
    np.testing.assert_array_equal(whole.mean(p), p)


def test_windows_of_a_series_or_of_a_group_are_left_out_together() -> None:
    of_series = series(*[12] * 20)
    parts = parts_of(of_series, 0)
    cut = Windows.of(of_series, 4)
    assert [sorted({*cut.owners[part]}) for part in parts_of(cut.series, 0)] == [part.tolist() for part in parts]
    of_machines = [
        Series(each.values, each.label, each.name, group=f"m{i // 4}") for i, each in enumerate(series(*[12] * 40))
    ]
    cut = Windows.of(of_machines, 4)
    for part in parts_of(cut.series, 0):
        machines = cut.owners[part] // 4
        assert len(part) == 12 * len({*machines})


def test_few_long_series_are_tried_in_windows_of_an_eighth() -> None:
    assert rows_to_try(series(4000, 4000, 90, 5000)) == [0, 512]
    assert rows_to_try(series(1023, 1023, 10**4)) == [0]
    assert rows_to_try(series(1024, 1024)) == [0, 128]
    assert rows_to_try(series(*[1024] * 101)) == [0]


def test_probabilities_are_calibrated_for_the_answers_about_series() -> None:
    """Windows that are right in three of four cases give a series that is nearly always right."""
    rng = np.random.default_rng(0)
    targets = (np.arange(60) % 2).astype(np.int32)
    cut = Windows.of(series(*[32] * 60), 4)
    right = rng.random(480) < 0.75
    signs = np.where(right, 1.0, -1.0)[:, None]
    y = signs * np.where(targets[cut.owners, None] == np.arange(2), 1.0, -1.0)

    def loss(factor: float) -> float:
        p = cut.mean(probabilities(factor * y))
        expected = (60 * np.eye(2)[targets] + 1) / 62
        return float(-(expected * np.log(p)).sum())

    factor = factor_of(y, targets, np.ones(60), cut.mean)
    assert loss(factor) <= min(loss(factor * 2**0.25), loss(factor / 2**0.25))
    assert factor > 1.5 * factor_of(y, targets[cut.owners], np.ones(480))


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("model", [*OPTIONS])
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_saved_model_and_a_stream_answer_by_the_mean_over_windows(kind: Any, model: str) -> None:
    X, y = recordings("variance", 12, steps=70)
    targets: Any = y if kind is Classifier else [each[:, 1].std() for each in X]
    given = OPTIONS[model] if model == "recurrent" else {"model": model}
    estimator = kind(**given, window=20).fit(X, targets)
    assert (estimator.model_, estimator.window_, estimator.steps_) == (model, 20, 60)
    answer = estimator.predict_proba if kind is Classifier else estimator.predict
    (whole,) = answer(X[:1])
    of_windows = answer([X[0][10:30], X[0][30:50], X[0][50:]])
    np.testing.assert_allclose(whole, of_windows.mean(axis=0), rtol=1e-4)
    estimator.save("model")
    loaded = kind.load("model")
    for last, rows in ((None, 60), (41, 40), (20, 20), (5, 5)):
        streamed = [*loaded.stream(X[0], last)]
        for t in (0, 4, 19, 20, 39, 45, 59, 69):
            (expected,) = answer([X[0][max(0, t + 1 - rows) : t + 1]])
            np.testing.assert_allclose(streamed[t], expected, rtol=1e-4, err_msg=f"{last} {t}")


class Fixed(Features):
    """Wrong about every second series; windows are all right with the seed 0, else as wrong as the series."""

    @classmethod
    def candidate(cls, params: Any, task: Task, series: list[Series], watcher: Any) -> Any:
        tested = Features.candidate(params, task, series, watcher)
        targets = targets_of(series)
        y = np.where(targets[:, None] == np.arange(2), 1.0, -1.0)
        of_series = len(y) // 40
        if of_series == 1 or params.seed:
            y[np.arange(len(y)) // of_series % 2 == 0] *= -1
        return type(tested)(y, tested.fit)


def chosen_by(monkeypatch: pytest.MonkeyPatch, seed: int = 0, **params: Any) -> Chosen:
    monkeypatch.setattr(windows, "_LONG", 64)
    monkeypatch.setattr("xrnn.series.labelled.kinds.MODELS", {"features": Fixed})
    given = Classifier(model="features", seed=seed, **params).check_params()
    rng = np.random.default_rng(0)
    of = [Series(rng.normal(size=(64, 1)), np.int32(i % 2), "") for i in range(40)]
    return choose_kind(given, Task(2), of, Classifier.watcher)


def test_windows_are_taken_if_left_out_series_show_a_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    better = chosen_by(monkeypatch)
    assert (better.windows.rows, better.compared) == (8, {"features": 0.5, "features --window 8": 0.0})
    assert better.fit(np.arange(40, dtype=np.int32) % 2, np.ones(40)) is not None
    tie = chosen_by(monkeypatch, seed=1)
    assert (tie.windows.rows, tie.compared) == (0, {"features": 0.5, "features --window 8": 0.5})
    assert chosen_by(monkeypatch, window=0).windows.rows == 0
    assert (chosen_by(monkeypatch, window=16).windows.rows, chosen_by(monkeypatch, window=16).compared) == (16, {})


def test_a_weight_of_a_series_is_that_of_its_windows() -> None:
    X, y = recordings("variance", 12, steps=70)
    weights = np.where(np.arange(12) < 3, 0.0, 1.0)
    some = Classifier(model="features", window=20).fit(X[3:], y[3:])
    weighted = Classifier(model="features", window=20).fit(X, y, weights)
    np.testing.assert_array_equal(some.predict_proba(X), weighted.predict_proba(X))
    assert weights_of(Windows.of(series(8, 4), 4).series).tolist() == [0.75, 0.75, 1.5]


def test_bad_windows_get_one_line() -> None:
    X, y = recordings("variance", 4, steps=20)
    for window in (-1, 2.5, "many", 2**31):
        with one_line(SettingsError, f"window is {window!r}: expected a whole number from 0 to"):
            Classifier(window=window).fit(X, y)  # type: ignore[arg-type]
