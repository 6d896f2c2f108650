"""The parts of the series that are left out, and groups, which stay together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.series.faults import recordings
from tests.series.waves import waves
from xrnn.series import Classifier, Regressor
from xrnn.series.labelled import recurrent
from xrnn.series.labelled.splits import TEST, hold_out, parts_of, units_of
from xrnn.series.one_series import Series
from xrnn.typing import HostArray


def grouped(labels: Sequence[Any], groups: Sequence[Any]) -> list[Series]:
    pairs = zip(labels, groups, strict=True)
    return [Series(np.zeros((1, 1)), label, str(i), group=group) for i, (label, group) in enumerate(pairs)]


def test_parts_have_the_labels_in_their_shares_and_each_series_once() -> None:
    labels = [*["a"] * 20, *["b"] * 10, "alone"]
    series = [Series(np.zeros((1, 1)), each, "") for each in labels]
    parts = parts_of(series, seed=0)
    assert sorted(np.concatenate(parts)) == [*range(30)]
    for part in parts:
        assert [sum(labels[i] == each for i in part) for each in "ab"] == [4, 2]
    assert [part.tolist() for part in parts_of(series, seed=0)] == [part.tolist() for part in parts]
    assert [part.tolist() for part in parts_of(series, seed=1)] != [part.tolist() for part in parts]
    assert [len(part) for part in parts_of(series[:3], seed=0)] == [1, 1, 1]
    assert not parts_of([series[0], series[-1]], seed=0)


def test_a_unit_is_a_group_or_one_series() -> None:
    assert units_of(grouped("aaaaa", ["x", None, "y", "x", None])) == [[0, 3], [1], [2], [4]]
    assert units_of(grouped("aa", [0, 0.0])) == [[0, 1]]


@pytest.mark.parametrize("kind", ["one label", "both labels", "numbers"])
def test_a_group_is_on_one_side_of_each_split(kind: str) -> None:
    machines = np.arange(60) // 5
    labels: list[Any] = ["good" if machine % 2 else "worn" for machine in machines]
    if kind == "both labels":
        labels = ["good" if i % 5 < 2 else "worn" for i in range(60)]
    if kind == "numbers":
        labels = machines.astype(float).tolist()
    series = grouped(labels, machines.tolist())
    for seed in range(5):
        parts = parts_of(series, seed)
        assert sorted(np.concatenate(parts)) == [*range(60)]
        assert len(parts) == 5
        for part in parts:
            assert not {*machines[part]} & {*np.delete(machines, part)}
        rest, held = hold_out(series, TEST, seed)
        assert len({each.group for each in held}) in (2, 3, 4)
        assert not {each.group for each in held} & {each.group for each in rest}
        assert len(held) + len(rest) == 60


def test_each_label_stays_in_a_group_that_is_not_left_out() -> None:
    series = grouped("aabbabcc", "wwxxyyzz")  # c is in one group; a and b are in two
    for seed in range(20):
        parts = parts_of(series, seed)
        assert parts
        for part in parts:
            others = np.setdiff1d(np.arange(8), part)
            assert {series[i].label for i in others} == {*"abc"}
        rest, held = hold_out(series, TEST, seed)
        assert {each.label for each in rest} == {*"abc"}
        assert held
    assert hold_out(grouped("aabb", "wwxx"), TEST, 0)[1] == []
    assert parts_of(grouped("aabb", "wwxx"), 0) == []


def machines(count: int, of_each: int, seed: int = 0) -> tuple[list[HostArray], list[str], list[str]]:
    """Recordings of machines with levels of their own, labels that are no property of the recordings, and names."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 10, (count, 8))
    X = [level + rng.normal(size=(50, 8)) for level in levels for _ in range(of_each)]
    names = [f"m{i}" for i in range(count) for _ in range(of_each)]
    return X, ["worn" if int(name[1:]) % 2 else "good" for name in names], names


@pytest.mark.usefixtures("workdir")
def test_machines_that_are_known_by_heart_are_no_knowledge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without groups, recordings of a machine tell the labels of its other recordings, and the model is sure."""
    monkeypatch.setattr(recurrent, "_SHARE", 0.02)
    X, y, names = machines(12, 4)
    alone, together = Classifier().fit(X, y), Classifier().fit(X, y, groups=names)
    assert min(alone.compared_.values()) < 0.1
    assert min(together.compared_.values()) > 0.25
    new = machines(30, 1, seed=1)[0]
    assert together.predict_proba(new).max(axis=1).mean() < 0.75 < alone.predict_proba(new).max(axis=1).mean()
    together.save("model")
    np.testing.assert_array_equal(Classifier.load("model").predict_proba(new), together.predict_proba(new))


@pytest.mark.parametrize("model", ["features", "convolutions", "recurrent"])
def test_groups_of_series_from_files_and_of_arguments_are_the_same(model: str) -> None:
    X, y = recordings("nothing", 12, steps=40)
    names = [f"m{i // 2}" for i in range(12)]
    more: dict[str, Any] = {"hidden": 2, "epochs": 1} if model == "recurrent" else {}
    series = [Series(x, None, "", group=name) for x, name in zip(X, names, strict=True)]
    fits = [
        Classifier(model=model, **more).fit(X, y, groups=names),
        Classifier(model=model, **more).fit(series, y),
        Classifier(model=model, **more).fit(X, y, groups=np.arange(12) // 2),
    ]
    p = [each.predict_proba(X) for each in fits]
    np.testing.assert_array_equal(p[0], p[1])
    np.testing.assert_array_equal(p[0], p[2])


def test_groups_of_numbers_stay_together_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "_SHARE", 0.02)
    X, _, names = machines(8, 6)
    numbers = np.repeat(np.random.default_rng(1).normal(size=8), 6)
    assert min(Regressor().fit(X, numbers).compared_.values()) < 0.2
    assert min(Regressor().fit(X, numbers, groups=names).compared_.values()) > 0.7


def test_bad_groups_get_one_line() -> None:
    X, y = [each.values for each in waves(4)], [each.label for each in waves(4)]
    got = "groups has shape (3,), but y has 4 values; give one for each series"
    with one_line(ValueError, got):
        Classifier().fit(X, y, groups=[1, 2, 3])
    for value in (None, float("nan"), b"m"):
        groups = np.array(["m", "n", value, "n"], object)
        with one_line(ValueError, "groups[2] is "):
            Classifier().fit(X, y, groups=groups)
