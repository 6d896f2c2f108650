"""The choice between the kinds of models, and the truth of what they report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.series.faults import FAULTS, recordings
from tests.series.waves import waves
from xrnn.series import Classifier, Regressor
from xrnn.series.labelled import kinds, recurrent
from xrnn.series.labelled.base import Candidate, Task, Watcher, factor_of, probabilities
from xrnn.series.labelled.features import Features
from xrnn.series.labelled.kinds import choose_kind
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

KIND = {"variance": "features", "frequency": "features", "delay": "features", "order": "convolutions"}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recurrent models are compared after very short trainings."""
    monkeypatch.setattr(recurrent, "_SHARE", 0.02)


@pytest.mark.usefixtures("short", "workdir")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_the_simplest_kind_that_sees_it(fault: str) -> None:
    X, y = recordings(fault, 32, seed=0)
    new, truth = recordings(fault, 40, seed=1)
    model = Classifier().fit(X, y)
    p = model.predict_proba(new)
    if fault == "nothing":
        assert min(model.compared_.values()) > 0.25
        assert p.max(axis=1).mean() < 0.7
        return
    assert model.model_ == KIND[fault]
    assert model.score(new, truth) > 0.9
    assert p.max(axis=1).mean() > 0.8
    model.save("model")
    loaded = Classifier.load("model")
    assert loaded.compared_ == model.compared_
    np.testing.assert_array_equal(loaded.predict_proba(new), p)


def test_a_parameter_of_recurrent_models_makes_it_one() -> None:
    X = [each.values for each in waves(10)]
    y = [each.label for each in waves(10)]
    given: list[dict[str, Any]] = [{"hidden": 4, "epochs": 2}, {"epochs": 2}, {"epochs": 1, "class_weight": "balanced"}]
    for params in given:
        model = Classifier(**params).fit(X, y)
        assert (model.model_, model.compared_) == ("recurrent", {})


def test_two_series_leave_none_out_and_get_the_simplest_kind() -> None:
    X = [each.values for each in waves(2)]
    model = Classifier().fit(X, [0, 1])
    assert (model.model_, model.compared_, model.predict(X).tolist()) == ("features", {}, [0, 1])


class Told(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)


def compared(
    patch: pytest.MonkeyPatch, outputs: dict[str, Any], targets: HostArray
) -> tuple[str, dict[str, float], list[str]]:
    """The chosen kind, if the kinds have these outputs for left-out series."""

    def kind(name: str) -> Any:
        class Kind(Features):
            @classmethod
            def candidate(cls, *_: Any) -> Candidate:
                return Candidate(np.array(outputs[name], float), lambda: name)  # type: ignore[arg-type, return-value]

        return Kind

    patch.setattr(kinds, "MODELS", {name: kind(name) for name in outputs})
    series = [Series(np.zeros((3, 1)), each, f"s{i}") for i, each in enumerate(targets)]
    params = Classifier().check_params()
    told = Told()
    chosen = choose_kind(params, Task(np.shape(outputs["a"])[1]), series, told)
    return str(chosen.candidate.fit()), chosen.compared, told.lines[1:]


def test_a_later_kind_must_be_better_by_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = (np.arange(8) % 2).astype(np.int32)
    right = np.where(targets[:, None] == np.arange(2), 1.0, -1.0)
    some, one, same = right.copy(), right.copy(), right.copy()
    some[:4] *= -1
    one[0] *= -1
    same[1] *= -1
    assert compared(monkeypatch, {"a": some, "b": one, "c": same}, targets) == (
        "b",
        {"a": 0.5, "b": 0.125, "c": 0.125},
        ["  --model a: 4 of 8 wrong", "  --model b: 1 of 8 wrong", "  --model c: 1 of 8 wrong"],
    )
    assert compared(monkeypatch, {"a": right, "b": right}, targets)[:2] == ("a", {"a": 0.0})  # nothing can be better
    untested = np.full_like(some, np.nan)
    untested[:4] = right[:4]
    assert compared(monkeypatch, {"a": some, "b": untested}, targets)[:2] == ("b", {"a": 0.5, "b": 0.0})


def test_series_that_no_part_leaves_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = np.array([0, 0, 1, 1, 2, *range(3, 9)], np.int32)
    right = 1.0 * (targets[:, None] == np.arange(9))
    *_, lines = compared(monkeypatch, {"a": right, "b": right}, targets)
    assert lines[0] == "  never left out, since no other series has the label: s4, s5, s6, s7, s8 and 2 more"
    assert compared(monkeypatch, {"a": right[:4], "b": right[:4]}, targets[:4])[2] == ["  --model a: 0 of 4 wrong"]


def test_numbers_are_compared_by_their_squared_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = np.linspace(-1, 1, 8).astype(np.float32)
    kind, errors, lines = compared(monkeypatch, {"a": np.zeros((8, 1)), "b": targets[:, None] + 0.1}, targets)
    assert kind == "b"
    assert errors["b"] == pytest.approx(0.01)
    assert lines[1] == "  --model b: squared error 0.010 (1 for the mean)"


def test_a_regressor_compares_too() -> None:
    X = [each.values for each in waves(20)]
    model = Regressor().fit(X, [float(each.mean()) for each in X])
    assert set(model.compared_) == {"features", "convolutions", "recurrent"}
    assert model.compared_[model.model_] == min(model.compared_.values())


def test_probabilities_are_those_of_left_out_series() -> None:
    """The factor is that with the lowest cross-entropy, with one more find of each label."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 50).astype(np.int32)
    outputs = rng.normal(size=(50, 3)) + 2 * (targets[:, None] == np.arange(3))
    outputs[[3, 7]] = np.nan
    tested = np.delete(np.arange(50), [3, 7])

    def loss(factor: float) -> float:
        p = probabilities(factor * outputs[tested])
        expected = (48 * np.eye(3)[targets[tested]] + 1) / 51
        return float(-(expected * np.log(p)).sum())

    factor = factor_of(outputs, targets, np.ones(50))
    assert loss(factor) <= min(loss(factor * 2**0.25), loss(factor / 2**0.25))
    assert 0.5 < factor < 4
    assert factor_of(np.full((4, 2), np.nan), np.zeros(4, np.int32), np.ones(4)) == 1
    sure = 100.0 * np.eye(2)[[0, 1] * 10]
    p = probabilities(factor_of(sure, np.array([0, 1] * 10, np.int32), np.ones(20)) * sure)
    assert p.max() == pytest.approx(21 / 22, abs=0.01)
