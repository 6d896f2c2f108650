"""The measurement on a busy machine: every part runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed (extra `bench`)")


from benchmarks import busy
from benchmarks.cases import Case
from tests.built import NOT_BUILT
from xrnn.backends.numpy import kernels

if not kernels:
    pytest.skip(NOT_BUILT, allow_module_level=True)


@pytest.mark.proof
def test_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "CASES", (Case(3, 2, 4, 8, cell="gru"),))
    monkeypatch.setattr(busy, "_SETTLE", 0.01)
    options = ["--processes", "1", "2", "--rounds", "1", "--seconds", "0.1"]
    busy.main([*options, "--parts", "processes", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "busy.json").read_text())
    ((case, rates),) = results["processes"].items()
    assert case == "gru-T3-N2-D4-H8"
    for by_setting in rates.values():
        assert {"chosen", "one thread"} <= by_setting.keys()
        # A busy machine may miss a short turn.
        assert sum(rate for rounds in by_setting.values() for rate in rounds) > 0


@pytest.mark.proof
def test_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "CASES", (Case(3, 2, 4, 8),))
    monkeypatch.setattr(busy, "_SETTLE", 0.01)
    options = ["--rounds", "2", "--seconds", "0.1", "--parts", "neighbour", "--neighbours", "5/20,bound"]
    busy.main([*options, "--out", str(tmp_path)])
    results = json.loads((tmp_path / "busy.json").read_text())
    ((_, rates),) = results["neighbour"].items()
    assert list(rates) == ["5/20", "bound"]
    assert sum(rate for by_setting in rates.values() for rounds in by_setting.values() for rate in rounds) > 0


def test_of_best_takes_ratios_within_a_round() -> None:
    """The second round ran while the machine was slow."""
    rates = {"chosen": [90.0, 45.0, 91.0], "one thread": [100.0, 50.0, 100.0], "2 threads": [1.0] * 3}
    assert busy.of_best(rates) == 0.9


def test_workers_take_turns_with_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = busy.Trainer()
    used: list[int] = []
    monkeypatch.setattr(trainer, "_use", used.append)
    monkeypatch.setattr(trainer, "_call", lambda: time.sleep(0.002 * used[-1]), raising=False)
    start = time.monotonic() + 0.05
    rates = trainer.rates([1, 1, 3], 0.05, start, start + 0.3)
    assert used[:7] == [3, 1, 1, 3, 1, 1, 3]  # the first turn is before the start
    assert 0 < rates[3] < rates[1] < 500
