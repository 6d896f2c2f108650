"""A comparison in miniature: real worker processes, the JSON file, the tables and the pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import xrnn
from benchmarks import compare, report
from benchmarks.cases import Case
from benchmarks.worker import Worker, _Library, workers

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


@posix
def test_a_missing_library_costs_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reservoirpy.py").write_text("raise ImportError('a part of it is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with workers(["numpy", "reservoirpy"], threads=1) as started:
        assert [worker.peer for worker in started] == ["numpy"]
    assert capsys.readouterr().out == (
        "left out reservoirpy: a part of it is missing. Remedy: pip install -e '.[bench]'\n"
    )


@pytest.mark.proof
@posix
def test_a_peer_with_wrong_numbers_loses_that_operation_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Worker.prepare

    def train_is_wrong(self: Worker, case: Case, drop_wrong: bool) -> dict[str, Any]:
        assert drop_wrong == (self.peer != "xrnn")  # wrong numbers of xrnn end the comparison
        prepared = prepare(self, case, drop_wrong)
        if self.peer == "numpy" and case.H == 16:
            prepared["operations"].remove("train")
            prepared["wrong"].append(f"{case.name} train: dx is off by 1.4")
        return prepared

    monkeypatch.setattr(Worker, "prepare", train_is_wrong)
    compare.main(["--quick", "--peers", "xrnn,numpy", "--rounds", "1", "--threads", "1", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "compare.json").read_text())
    assert results["wrong"] == ["numpy: T50-N1-D16-H16 train: dx is off by 1.4"]
    for row in results["cases"]:
        is_wrong = row["case"] == "T50-N1-D16-H16" and row["operation"] == "train"
        assert set(row["microseconds"]) == {"xrnn"} if is_wrong else {"xrnn", "numpy"}
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("wrong: numpy: T50-N1-D16-H16 train: dx is off by 1.4") == 2  # at once, and with the tables


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
