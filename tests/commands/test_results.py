"""What commands print: the figures of a run, or JSON; and that the models learn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import CLASSIFY, FORECAST, REGRESS, UPDATES, Capture, Run, growth, write_levels

pytestmark = pytest.mark.usefixtures("blank_pictures")

F = r"\d+\.\d{3}"
TRAINING = "--patch 1 --scaling shared"
TOOK = r"took 0:00:\d\d"
CHECKPOINT = "checkpoint: c (xrnn predict c FILE...)"
# Regular expressions: lines with the description of the run, then those with its results.
LINES: dict[str, tuple[list[str], list[str]]] = {
    "classify": (
        [
            r"series: 10 to train on, 6 to test on; 2 channels, \d to \d steps",
            rf"model: 1 bidirectional GRU layer of 6, 362 weights; {TRAINING}",
            rf"epoch 2: loss {F}, {TOOK}",
        ],
        [
            re.escape(CHECKPOINT),
            rf"accuracy: {F} \(\d of 6\), standard error 0\.\d\d",
            rf"baseline \(ridge on convolutions\): {F} \(\d of 6\).*",
            rf"balanced accuracy: {F}",
            rf"macro F1: {F}",
            "label +series +right +recall +precision *",
            rf"quick +3 +\d +{F} +({F}|-) *",
        ],
    ),
    "regress": (
        [
            r"series: 10 to train on, 6 to test on; 2 channels, 4 to 7 steps",
            rf"model: 1 bidirectional GRU layer of 6, 349 weights; {TRAINING}",
            rf"epoch 2: loss {F}, {TOOK}",
        ],
        [
            re.escape(CHECKPOINT),
            r"mean absolute error: \d+\.?\d* \(mean predictor: \d+\.?\d*\)",
            rf"R²: -?{F} \(mean predictor: -?{F}\)",
            r"baseline \(ridge on convolutions\): mean absolute error \d+\.?\d*.*",
        ],
    ),
    "forecast": (
        ["series: rows.csv, 120 rows, season 4; 3 steps ahead from 24", "times: date, steps of 3 months; columns: v"],
        [
            re.escape(CHECKPOINT),
            rf"backtest: 22 forecasts of 3 steps; \d+% of the values are in the intervals of 80%; pinball loss {F}",
            r"MASE +all steps +step 1 +step 2 +step 3 +sMAPE",
            rf"seasonal naive +{F} +{F} +{F} +{F} +\d+\.\d\d%",
            r"forecasts: \d+% exponential smoothing, \d+% linear part(, corrected by a recurrent part)?",
            r"2031-01-01 +[\d.]+ +[\d.]+ +[\d.]+",
        ],
    ),
}
KEYS = {
    "classify": {
        "model",
        "window",
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "right",
        "series",
        "steps",
        "labels",
        "baseline",
    }
    | {"standard_error", "largest_label", "wrong"},
    "regress": {"model", "window", "mae", "r2", "series", "steps", "mean_predictor", "baseline"},
    "forecast": {"backtest", "effects", "forecast", "known", "new_level", "outliers"},
}


def results(capsys: Capture, run: Run, *options: str, epochs: int = 2) -> Any:
    capsys.readouterr()
    assert run(*options, "--json", epochs=epochs) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def test_a_run_shows_its_figures_and_leaves_a_checkpoint_and_a_picture(run: Run, capsys: Capture) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[series]'")
    assert run("--out", "c") == 0
    out, err = capsys.readouterr()
    assert (err, "\x1b" in out) == ("", False)  # no bar where there is no terminal
    notes, shown = LINES[run.command]
    shown = [*shown, "picture: c.png"]
    backend = [] if run is FORECAST else [r"backend: numpy \(decided by XRNN_BACKEND=numpy\)"]
    for line in [*backend, *notes, *shown]:
        assert re.search(f"^{line} *$", out, re.MULTILINE), line
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_one_line_with_the_results(run: Run, capsys: Capture) -> None:
    got = results(capsys, run, "--out", "c")
    assert got.keys() == KEYS[run.command] | {"checkpoint", "picture"}
    assert (got.get("steps", UPDATES), got["checkpoint"]) == (UPDATES, "c")
    again = {"checkpoint": "d", "picture": got["picture"] and "d.png"}
    assert results(capsys, run, "--out", "d") == got | again


def test_the_models_learn(folder: Path, capsys: Capture) -> None:
    got = results(capsys, CLASSIFY, epochs=20)
    assert got["accuracy"] == got["right"] / got["series"] == 1
    assert {name: (each["series"], each["right"]) for name, each in got["labels"].items()} == {
        "slow": (3, 3),
        "quick": (3, 3),
    }
    write_levels(Path("levels.ts"), 40, 0)
    got = results(capsys, REGRESS, "--dropout", "0", "--noise", "0", epochs=60)
    assert got["r2"] > 0.9
    assert got["mae"] < 0.3 * got["mean_predictor"]["mae"]
    assert got["mean_predictor"]["r2"] <= 0
    got = results(capsys, FORECAST)
    scores = got["backtest"]
    assert scores.keys() == {"model", "naive", "seasonal_naive", "drift"}
    assert scores["model"].keys() == {"mase", "smape", "steps", "coverage", "pinball"}
    assert np.mean(scores["model"]["steps"]) == pytest.approx(scores["model"]["mase"])
    assert scores["model"]["mase"] < 0.5 * scores["seasonal_naive"]["mase"]
    assert [each["time"] for each in got["forecast"]] == ["2031-01-01", "2031-04-01", "2031-07-01"]
    np.testing.assert_allclose([each["value"] for each in got["forecast"]], growth(123)[120:], rtol=0.1)
