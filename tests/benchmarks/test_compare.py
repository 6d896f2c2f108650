"""A comparison in miniature: real worker processes, the JSON file and the tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import xrnn
from benchmarks import compare, report
from benchmarks.cases import Case
from benchmarks.worker import _Library

posix = pytest.mark.skipif(sys.platform == "win32", reason="stopping idle workers needs POSIX signals")


@posix
def test_quick_comparison_writes_what_the_report_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare.main(
        ["--quick", "--peers", "xrnn,xrnn-plain,numpy", "--rounds", "2", "--threads", "1", "--out", str(tmp_path)]
    )
    results = json.loads((tmp_path / "compare.json").read_text())
    assert results["machine"]["threads"] == 1
    assert results["dtype"] == "float32"
    assert results["versions"]["numpy"]["numpy"]
    assert {row["operation"] for row in results["cases"]} == {"step", "forward", "train"}
    for row in results["cases"]:
        assert set(row["microseconds"]) == {"xrnn", "xrnn-plain", "numpy"}
        assert all(len(times) == 2 and min(times) > 0 for times in row["microseconds"].values())
        assert max(row["errors"].values()) < 1e-5
        assert len(row["ceiling_gflops"]) == 2

    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"xrnn {xrnn.__version__} in {Path(xrnn.__file__).parent}: ")
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "forward + backward, microseconds" in printed
    assert "50, 1, 16, 16" in printed
    assert "geometric mean" in printed


def test_a_library_reports_its_wrong_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(name: str, *_: Any) -> float:
        if name == "train":
            raise AssertionError("train: dx is off")
        return 0.0

    monkeypatch.setattr("benchmarks.worker.check", check)
    monkeypatch.setattr("benchmarks.worker._SETTLING", 0)
    library = _Library("numpy", 1)
    prepared = library.prepare(Case(2, 1, 2, 3), True)
    assert (prepared["operations"], prepared["wrong"]) == (["step", "forward", "product"], ["train: dx is off"])
    with pytest.raises(AssertionError, match="train: dx is off"):
        library.prepare(Case(2, 1, 2, 3), False)
