"""The parts of a step add up to the whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import report, step

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stopping idle workers needs POSIX signals")


def test_step_command_writes_what_the_report_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step.main(["--peers", "xrnn,expression", "--rounds", "2", "--threads", "1", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "step.json").read_text())
    assert set(results["microseconds"]) == {"xrnn", "expression"}
    parts = results["parts"]
    for total, *rest in zip(
        *(parts[name] for name in ("total", "checks", "allocation", "kernel", "call")), strict=True
    ):
        assert sum(rest) == pytest.approx(total)
    assert min(parts["checks"] + parts["allocation"] + parts["kernel"]) > 0

    capsys.readouterr()
    report.main([str(tmp_path)])
    assert "of xrnn's step: total" in capsys.readouterr().out


def test_a_report_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no results: expected compare.json, .*; run make bench"):
        report.main([str(tmp_path)])
