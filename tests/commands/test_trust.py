"""What a report says about its own score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import Capture
from tests.series.faults import recordings
from xrnn.commands import trust
from xrnn.commands.main import main
from xrnn.commands.trust import Answers, report, standard_error
from xrnn.series import Classifier
from xrnn.series.labelled import recurrent
from xrnn.series.one_series import Series


def answers(labels: str, predicted: str, p: float = 0.9) -> Answers:
    series = [Series(np.zeros((1, 1)), label, f"r{i}") for i, label in enumerate(labels)]
    return Answers(series, np.array([[p, 1 - p] if each == "a" else [1 - p, p] for each in predicted]), ["a", "b"])


def test_the_standard_error_is_never_zero() -> None:
    assert standard_error(9, 9) == pytest.approx((11 / 13 * 2 / 13 / 13) ** 0.5)
    assert standard_error(50, 100) == pytest.approx(0.049, abs=1e-3)


@pytest.mark.parametrize(
    ("labels", "predicted", "words"),
    [
        ("a" * 7 + "b" * 4, "a" * 11, "no better than the largest label (a, 64% of the series): the model has learnt"),
        ("a" * 7 + "b" * 4, "b" * 11, "no better than the largest label (a, 64% of the series): the model has learnt"),
        (
            "a" * 7 + "b" * 4,
            "a" * 10 + "b",
            "not clearly better than the largest label (a, 64% of the series): with",
        ),
        ("a" * 20 + "b" * 20, "a" * 20 + "b" * 20, ""),
    ],
)
def test_a_score_like_that_of_the_largest_label_is_named(labels: str, predicted: str, words: str) -> None:
    lines, results = report(answers(labels, predicted), None)
    assert results["largest_label"]["is_clear"] == (not words)
    assert results["largest_label"]["share"] == labels.count("a") / len(labels)
    assert words in "\n".join(lines)
    assert bool(lines) == bool(words)


@pytest.mark.parametrize("labels", ["a" * 8, "a" * 19 + "b"])
def test_answers_without_a_mistake_are_not_called_bad(labels: str) -> None:
    """Even if always the largest label would be right as often, or nearly so."""
    assert report(answers(labels, labels), None)[0] == []


def test_confused_series_are_named_with_the_surest_first() -> None:
    few, results = report(answers("aabb" * 10, "aabb" * 9 + "aaaa"), None)
    assert few == ["wrong, with the probability of the wrong label:", *(f"  r{i} is b: a 0.900" for i in (38, 39))]
    assert results["wrong"][0] == {"name": "r38", "label": "b", "predicted": "a", "probability": 0.9}
    p = np.linspace(0.6, 0.9, 40)
    many = answers("aabb" * 10, "bbbb" * 10)._replace(p=np.stack([1 - p, p], axis=1))
    lines, results = report(many, None)
    assert lines[1] == "wrong, with the probability of the wrong label, the surest 10:"
    assert lines[2] == f"  r37 is a: b {p[37]:.3f}"
    assert (len(lines), len(results["wrong"])) == (12, 20)


def test_each_of_few_series_is_tested_by_a_model_that_left_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = recordings("variance", 20)
    series = [Series(x, label, f"r{i}") for i, (x, label) in enumerate(zip(X, y, strict=True))]
    series.append(Series(X[0], "alone", "alone"))
    classifier = Classifier(model="features").fit(series, [each.label for each in series])
    parts = trust.in_parts(classifier, series)
    assert parts is not None
    assert sorted(each.name for each in parts.series) == sorted(f"r{i}" for i in range(20))
    np.testing.assert_allclose(parts.p.sum(axis=1), 1)
    assert parts.right >= 18
    assert (parts.part_count, parts.untested) == (5, 1)
    (line, untested, *_), results = report(answers("ab" * 4, "ab" * 4), parts)
    assert line.startswith("20 of 21 series, each left out in one of five parts: accuracy ")
    assert untested == "no test is possible for 1 series: no other series has their label"
    assert results["in_parts"]["series"] == 20
    few = trust.in_parts(classifier, series[:4])
    assert few is not None
    assert (few.part_count, few.untested) == (4, 0)
    assert report(answers("ab", "ab"), few)[0][0].startswith("all series, each left out in one of four parts: accuracy")
    # The answer about a series is the same if its label was another one
    swapped = [each if each.name != "r3" else Series(each.values, "good", "r3") for each in series]
    one = parts.p[[each.name for each in parts.series].index("r3")]
    monkeypatch.setattr(trust, "parts_of", lambda *_: [np.array([3])])
    left = trust.in_parts(classifier, series), trust.in_parts(classifier, swapped)
    assert left[0] is not None
    assert left[1] is not None
    np.testing.assert_array_equal(left[0].p, left[1].p)
    assert one.argmax() == left[0].p[0].argmax()
    monkeypatch.setattr(trust, "_FEW_IN_ALL", 21)
    assert trust.in_parts(classifier, series) is None


def test_series_of_a_group_that_are_wrong_together_make_the_score_less_sure() -> None:
    labels = "a" * 10 + "b" * 10
    wrong_together = answers(labels, "a" * 15 + "b" * 5)
    alone = report(wrong_together, None)[1]["standard_error"]
    assert alone == standard_error(15, 20)
    groups = [replace(each, group=i // 5) for i, each in enumerate(wrong_together.series)]
    together = wrong_together._replace(series=groups)
    error = report(together, None)[1]["standard_error"]
    # of the means of four groups: 1, 1, 0 and 1
    assert error == pytest.approx(np.std([1, 1, 0, 1], ddof=1) / 2)
    lines, results = report(together, together._replace(part_count=2, untested=3))
    assert lines[0] == (
        "20 of 23 series, each left out with its group in one of two parts: accuracy 0.750 (15 of 20), standard error "
        "0.25"
    )
    assert lines[1] == "no test is possible for 3 series: no other group has their label"
    assert not results["largest_label"]["is_clear"]
    assert report(wrong_together, None)[1]["largest_label"]["is_clear"]


@pytest.mark.usefixtures("workdir", "blank_pictures")
@pytest.mark.parametrize("fault", ["frequency", "nothing"])
def test_the_report_tells_a_fault_from_none(fault: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "_SHARE", 0.02)
    X, y = recordings(fault, 32)
    for i, (x, label) in enumerate(zip(X, y, strict=True)):
        Path("rec", label).mkdir(parents=True, exist_ok=True)
        np.save(Path("rec", label, f"{i:02}.npy"), x)
    assert main(["classify", "rec", "--out", "c"]) == 0
    out = capsys.readouterr().out
    assert main(["classify", "rec", "--out", "c", "--overwrite", "--json"]) == 0
    got: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {"features", "convolutions"} <= got["compared"].keys() or got["compared"] == {"features": 0.0}
    assert len(got["held_out"]) == got["series"] == 8
    assert got["in_parts"]["series"] == 32
    assert len(got["in_parts"]["wrong"]) == 32 - got["in_parts"]["right"]
    assert len(got["wrong"]) == 8 - got["right"]
    assert got["in_parts"]["kind_was_chosen_by_them"] == (len(got["compared"]) > 1)
    assert ("chosen on these series too" in out) == (len(got["compared"]) > 1)
    assert "of 8), standard error 0." in out
    if fault == "frequency":
        assert "each left out in one of five parts: accuracy 1.000 (32 of 32), standard error 0.04" in out
        assert got["largest_label"]["is_clear"]
        return
    assert "better than the largest label (good, 50% of the series)" in out
    assert not got["largest_label"]["is_clear"]
    assert "wrong in the parts, with the probability of the wrong label" in out
    assert got["in_parts"]["wrong"][0]["name"] in out
    assert max(each["probability"] for each in [*got["wrong"], *got["in_parts"]["wrong"]]) < 0.9
