"""Both libraries train the same model on the same batches."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import classify_speed
from tests.benchmarks.training import assert_both_learn_alike
from tests.models.data.waves import waves, write_ts
from tests.models.labelled.tiny import dataset
from xrnn.models.labelled.settings import ClassifierSettings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])  # PyTorch's
def test_both_learn_alike_from_the_same_weights(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    settings = ClassifierSettings(cell=cell, hidden=6, batch=4, dropout=0.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # xrnn's schedule is switched off: the PyTorch code has none.
    monkeypatch.setattr("xrnn.models.labelled.trainer.cosine_rate", lambda peak, step, whole: peak)
    torch, xrnn = classify_speed.TorchRun(dataset(), settings), classify_speed.LIBRARIES["xrnn"](dataset(), settings)
    assert_both_learn_alike(cell, torch, xrnn, monkeypatch)


@pytest.mark.proof
def test_the_figures_are_printed_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    paths = [str(write_ts(tmp_path / f"{seed}.ts", waves(4, seed))) for seed in (0, 1)]
    options = ["--steps", "1", "--rounds", "2", "--threads", "1", "--json", str(out)]
    command = [sys.executable, "-m", "benchmarks.classify_speed", *paths, *options]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.stderr == ""
    results = json.loads(out.read_text())
    assert results["series_per_block"] == {"given": 4, "100 steps": 32, "1 to 100 steps": 32}
    for of_case in results["seconds"].values():
        assert {library: len(seconds) for library, seconds in of_case.items()} == {"xrnn": 2, "pytorch": 2}
    assert process.stdout.count("series/s") == 6
    assert process.stdout.count("xrnn / PyTorch") == 3
    assert process.stdout.endswith(classify_speed.report(results) + "\n")


def test_a_training_reaches_its_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(classify_speed, "default_epochs", lambda count: 30)
    settings = replace(ClassifierSettings(), hidden=8, batch=4, lr=0.02)
    for library in classify_speed.LIBRARIES:
        accuracy, seconds = classify_speed.train(library, dataset(), settings)
        assert accuracy == 1.0
        assert seconds > 0
