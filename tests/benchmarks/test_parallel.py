"""The benchmark of several processes, at a tiny size, and its cost model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import parallel
from tests.parallel.launch import NEEDS_MPI


@pytest.mark.proof
@NEEDS_MPI
def test_the_figures_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parallel, "LIBRARIES", {"xrnn": "xrnn"})
    options = ["--cells", "rnn", "--batch", "4", "--steps", "3", "--rounds", "2", "--updates", "2"]
    parallel.main([*options, "--json", str(tmp_path / "out.json")])
    printed = capfd.readouterr().out
    (results,) = json.loads((tmp_path / "out.json").read_text())["cells"]
    assert set(results["seconds"]) == {"xrnn 1 × 4", "xrnn 2 × 4", "apart"}
    E, H, V = 64, 256, 256
    numbers = V * E + E * H + H * H + H + H * V + V  # of the model
    assert results["sent"] == 4 * (numbers + 2)  # and the sum of the weights, and the overflow flag
    assert "times one process" in printed
    assert "processes that train alone" in printed
    assert "10 Gbit/s Ethernet" in printed


def test_the_cost_model() -> None:
    assert parallel.seconds_of_mean(2, 1000, 0, 1000) == 1
    assert parallel.seconds_of_mean(4, 1000, 1, 1000) == 6 + 1.5
    assert parallel.seconds_of_mean(1024, 0, 1, 1) == 30


def test_one_process_has_nothing_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parallel.main(["--processes", "1"])
    assert "--processes is 1: expected at least 2" in capsys.readouterr().err
