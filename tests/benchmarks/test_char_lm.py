"""The two libraries train the same model on the same chunks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import char_lm
from tests.jobs.charlm.texts import write_text
from xrnn.jobs.cells import CELLS
from xrnn.jobs.charlm.corpus import load_corpus
from xrnn.jobs.charlm.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("cell", CELLS)
def test_both_learn_alike_from_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    settings = Settings(cell=cell, hidden=16, seq_len=5, batch=3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Without xrnn's schedule and clipping, which PyTorch's user has not written.
    monkeypatch.setattr("xrnn.jobs.charlm.trainer.learning_rate", lambda peak, step: peak)
    monkeypatch.setattr("xrnn.jobs.trainer._MAX_NORM", 1e9)
    corpus = load_corpus([write_text(tmp_path / "text")])
    torch, xrnn = char_lm.TorchRun(corpus, settings), char_lm.XrnnRun(corpus, settings)
    for mine, theirs in zip(xrnn.model().named_params.values(), torch.model().named_params.values(), strict=True):
        mine[...] = theirs
    # A second bias would make their sum learn twice as fast. GRU's n has two that are no sum.
    only = slice(2 * settings.hidden if cell == "gru" else None, None if cell == "gru" else 0)
    torch._rnn.bias_hh_l0.register_hook(lambda gradient: only_part(gradient, only))
    for _ in range(20):
        torch.step()
        xrnn.step()
    for (name, mine), theirs in zip(
        xrnn.model().named_params.items(), torch.model().named_params.values(), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4, err_msg=name)


def only_part(gradient: Any, part: slice) -> Any:
    kept = gradient.clone().zero_()
    kept[part] = gradient[part]
    return kept


def test_the_figures_are_printed_and_written(tmp_path: Path) -> None:
    text, out = write_text(tmp_path / "text", size=9000), tmp_path / "out.json"
    options = ["--steps", "2", "--rounds", "2", "--threads", "1", "--json", str(out)]
    command = [sys.executable, "-m", "benchmarks.char_lm", str(text), *options]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.stderr == ""
    printed = process.stdout
    results = json.loads(out.read_text())
    assert set(results["seconds"]) == {"xrnn", "pytorch"}
    assert all(len(seconds) == 2 for seconds in results["seconds"].values())
    for bits in results["bits_per_character"].values():
        assert f"{bits:.3f} bits per character, held out" in printed
    for library in ("xrnn", "pytorch"):
        assert 3 < results["bits_per_character"][library] < 9  # two steps from a uniform guess
    assert "characters/s" in printed
