"""Both libraries train the same model on the same chunks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn.torch
from benchmarks import char_lm
from tests.benchmarks.training import assert_both_learn_alike
from tests.models.texts import write_text
from xrnn.models.corpus import load_corpus
from xrnn.models.text import TextSettings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])  # PyTorch's
def test_both_learn_alike_from_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    settings = TextSettings(cell=cell, hidden=16, seq_len=5, batch=3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # xrnn's schedule is switched off: the PyTorch code has none.
    monkeypatch.setattr("xrnn.models.text.root_rate", lambda peak, step: peak)
    corpus = load_corpus([write_text(tmp_path / "text")])
    torch, ours = char_lm.TorchRun(corpus, settings), char_lm.LIBRARIES["xrnn"](corpus, settings)
    assert_both_learn_alike(cell, torch, ours, monkeypatch)


def test_the_accelerated_model_runs_on_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    corpus = load_corpus([write_text(tmp_path / "text")])
    run: Any = char_lm.AcceleratedRun(corpus, TextSettings(cell="gru", hidden=16, seq_len=5, batch=3))
    assert xrnn.torch.explain(run._layers) == {"1": "kernels"}
    run.step()
    assert run.version.endswith(", accelerated")


@pytest.mark.proof
def test_the_figures_are_printed_and_written(tmp_path: Path) -> None:
    text, out = write_text(tmp_path / "text", size=9000), tmp_path / "out.json"
    options = ["--steps", "2", "--rounds", "2", "--threads", "1", "--json", str(out)]
    command = [sys.executable, "-m", "benchmarks.char_lm", str(text), *options]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.stderr == ""
    printed = process.stdout
    results = json.loads(out.read_text())
    assert set(results["seconds"]) == {"xrnn", "pytorch", "xrnn.torch"}
    assert all(len(seconds) == 2 for seconds in results["seconds"].values())
    for library, (bits,) in results["bits_per_character"].items():
        assert f"{bits:.3f} bits per character, held out" in printed
        assert library not in results["seconds"] or 2 < bits < 9  # two steps from a uniform guess
    assert "characters/s" in printed


@pytest.mark.proof
def test_bfloat16_beside_float32_with_several_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, out = write_text(tmp_path / "text", size=9000), tmp_path / "out.json"
    options = "--libraries xrnn,xrnn-bfloat16 --seeds 2 --hidden 32 --steps 2 --rounds 2 --threads 1"
    char_lm.main([str(text), *options.split(), "--json", str(out)])
    results = json.loads(out.read_text())
    assert results["versions"]["xrnn-bfloat16"].endswith(", bfloat16")
    assert [len(seconds) for seconds in results["seconds"].values()] == [4, 4]
    ours, rounded = (results["bits_per_character"][library] for library in ("xrnn", "xrnn-bfloat16"))
    assert ours[0] != ours[1]
    np.testing.assert_allclose(rounded, ours, atol=0.01)
    printed = capsys.readouterr().out
    assert "; 2 updates in 2 blocks for each of 2 seeds" in printed
    assert f"2 seeds: {min(ours):.3f} to {max(ours):.3f}" in printed
    assert "xrnn-bfloat16 / xrnn" in printed
