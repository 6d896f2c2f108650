"""The methods beside `xrnn classify`, and their table."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import classify
from tests.commands.runs import write_levels
from tests.series.waves import waves, write_ts
from xrnn.series.checks import Series
from xrnn.series.ts import read_ts
from xrnn.typing import HostArray


@pytest.mark.parametrize("name", ["baseline", "ridge"])
@pytest.mark.parametrize("has_numbers", [False, True])
def test_a_method_learns(tmp_path: Path, name: str, has_numbers: bool) -> None:
    files = [tmp_path / f"{part}.ts" for part in ("train", "test")]
    for seed, file in enumerate(files):
        write_levels(file, 40, seed) if has_numbers else write_ts(file, waves(40, seed))
    train, test = (read_ts(file, targets=has_numbers) for file in files)
    measured = classify.measure(classify.METHODS[name], train, test, has_numbers)
    assert measured.score < 0.5 if has_numbers else measured.score > 0.8
    assert measured.seconds[0] > 0


def test_scores_are_accuracies_and_relative_errors() -> None:
    def last(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
        return np.repeat(y[-1:], len(X_test))

    def series(*labels: str) -> list[Series]:
        return [Series(np.ones((2, 1)), label, "s") for label in labels]

    assert classify.measure(last, series("a", "b"), series("b", "a", "a", "b"), False).scores == [0.5]
    assert classify.measure(last, series("1", "3"), series("5", "3"), True).scores == [0.5]  # of |5 - 2| + |3 - 2|


def test_the_score_of_a_random_method_is_the_median_over_seeds() -> None:
    def nth(X: list[HostArray], y: HostArray, X_test: list[HostArray], seed: int) -> HostArray:
        return np.array(["a"] * [1, 3, 2][seed] + ["b"] * [3, 1, 2][seed])

    parts = [Series(np.ones((2, 1)), "a", "s")] * 4
    measured = classify.measure(nth, parts, parts, False, seeds=3)
    assert measured.scores == [0.25, 0.75, 0.5]
    assert measured.score == 0.5


def test_the_table_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [read_ts(write_ts(tmp_path / f"{seed}.ts", waves(20, seed)), targets=False) for seed in (0, 1)]

    def load(name: str) -> list[list[Series]]:
        if name == "Trace":
            raise importlib.metadata.PackageNotFoundError("tslearn")
        return parts

    monkeypatch.setattr(classify, "load", load)
    monkeypatch.setitem(classify.METHODS, "xrnn", lambda X, y, X_test, seed: np.repeat(y[:1], len(X_test)))
    out = tmp_path / "out.json"
    classify.main(["--sets", "GunPoint,Trace", "--methods", "xrnn,baseline", "--seeds", "2", "--json", str(out)])
    printed = capsys.readouterr()
    assert printed.err == "left out Trace: pip install --no-deps tslearn\n"
    results = json.loads(out.read_text())["sets"]
    assert results["GunPoint"]["xrnn"]["scores"] == [0.5, 0.5]
    assert min(results["GunPoint"]["baseline"]["scores"]) > 0.5
    assert "\n| GunPoint | 0.500 | 0.0 | " in printed.out
    assert printed.out.endswith("xrnn beside baseline: better in 0, equal in 0, worse in 1\n")
    with pytest.raises(SystemExit, match=r"^nothing was measured: expected at least one set; install a package"):
        classify.main(["--sets", "Trace", "--methods", "ridge"])


def test_a_lower_error_is_better() -> None:
    results = {
        name: {"xrnn": classify.Measured([0.9], [1.0]), "other": classify.Measured([other], [1.0])}
        for name, other in (("GunPoint", 0.8), ("Coffee", 0.9), ("Tecator", 0.8))
    }
    assert classify.record(results, "other") == (1, 1, 1)
