"""A whole comparison in miniature: real worker processes, the JSON file, the tables and the pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, report
from benchmarks.cases import Case
from benchmarks.worker import Worker

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
    assert {cell["operation"] for cell in results["cells"]} == {"step", "forward", "train"}
    for cell in results["cells"]:
        assert set(cell["microseconds"]) == {"xrnn", "xrnn-plain", "numpy"}
        assert all(len(times) == 2 and min(times) > 0 for times in cell["microseconds"].values())
        assert max(cell["errors"].values()) < 1e-5
        assert len(cell["ceiling_gflops"]) == 2

    capsys.readouterr()  # what compare itself printed
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "forward + backward, microseconds" in printed
    assert "50, 1, 16, 16" in printed
    assert "geometric mean" in printed
    for name in ("gflops.png", "sequences.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@posix
def test_a_workers_error_arrives_with_its_name() -> None:
    worker = Worker("numpy", threads=1)
    try:
        with pytest.raises(AssertionError, match="numpy: KeyError: 'no such operation'"):
            worker.time("no such operation")
        assert worker.prepare(Case(1, 1, 2, 3))["operations"] == ["step", "forward", "train", "product"]
    finally:
        worker.close()


@posix
def test_a_library_that_hangs_costs_its_case_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Worker.prepare

    def hang_once(self: Worker, case: Case) -> dict[str, Any]:
        if self.peer == "numpy" and case.H == 16:
            monkeypatch.setattr("benchmarks.worker._LIMIT", 0.0)
        try:
            return prepare(self, case)
        finally:
            monkeypatch.setattr("benchmarks.worker._LIMIT", 60.0)

    monkeypatch.setattr(Worker, "prepare", hang_once)
    compare.main(["--quick", "--peers", "xrnn,numpy", "--rounds", "1", "--threads", "1", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "compare.json").read_text())
    assert results["left_out"] == ["T50-N1-D16-H16: numpy gave no answer for 0.0 seconds"]
    assert {cell["case"] for cell in results["cells"]} == {"T35-N3-D40-H100", "T1-N1-D64-H64"}
    assert "left out T50-N1-D16-H16" in capsys.readouterr().out
