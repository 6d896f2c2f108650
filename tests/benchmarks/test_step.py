"""The parts of a step add up to the whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import report, step

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stopping idle workers needs POSIX signals")


@pytest.mark.proof
def test_step_command_writes_what_the_report_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--peers", "xrnn,numpy", "--cells", "rnn,lstm", "--rounds", "2", "--threads", "1"]
    step.main([*options, "--out", str(tmp_path)])
    rnn, lstm = json.loads((tmp_path / "step.json").read_text())["cases"]
    assert [rnn["cell"], lstm["cell"]] == ["rnn", "lstm"]
    assert {operation: set(times) for operation, times in rnn["microseconds"].items()} == {
        "step": {"xrnn", "numpy"},
        "stream": {"xrnn"},
        "train": {"xrnn", "numpy"},
    }
    parts = rnn["parts"]
    for total, *rest in zip(*(parts[name] for name in ("total", "allocation", "kernel", "call")), strict=True):
        assert sum(rest) == pytest.approx(total)
    assert min(parts["allocation"] + parts["kernel"]) > 0

    capsys.readouterr()
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.count("parts of xrnn's call: total") == 2
    assert "LSTM, one step, N=1, D=H=64" in printed
