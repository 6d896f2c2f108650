"""The tables of the docs say what the results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme
from benchmarks.cases import Case

RNN = Case(50, 1, 64, 64)
UNLISTED = Case(50, 1, 16, 16)  # a size that only the means have
RAGGED = Case(35, 48, 100, 200, ragged=True)


def row(operation: str, ours: float, peer: float, case: Case = RNN) -> dict[str, Any]:
    times = {"xrnn": [ours] * 3, "xrnn-plain": [1.0] * 3, "numpy": [peer] * 3, "torch": [9 * peer] * 3}
    return {
        "case": case.name,
        "cell": case.cell,
        "ragged": case.ragged,
        **dict(zip("TNDH", case.sizes, strict=True)),
        "operation": operation,
        "flops": case.flops(operation),
        "microseconds": times,
        "ceiling_gflops": [100.0] * 3,
    }


def test_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gru = Case(50, 1, 64, 64, cell="gru")
    rows = [row("forward", 5.12, 10.24), row("train", 1234.5, 617.25)]
    rows += [row(operation, 5.0, 10.0, case) for case in (UNLISTED, RAGGED) for operation in ("forward", "train")]
    rows += [row("forward", 4.0, 12.0, gru), row("train", 4.0, 12.0, gru)]
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"cases": rows}))
    readme.main([str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "RNN:"
    assert lines[4:6] == ["| 50, 1, 64, 64 | 5.1 | 2.00 numpy | 1,234 | 0.50 numpy |", ""]
    assert lines[6] == "GRU:"
    assert lines[10:12] == ["| 50, 1, 64, 64 | 4.0 | 3.00 numpy | 4.0 | 3.00 numpy |", ""]
    assert lines[14:] == [
        "| RNN |  | 2.00 (2 of 2) | 1.00 (1 of 2) |",
        "| RNN, different lengths |  | 2.00 (1 of 1) | 2.00 (1 of 1) |",
        "| GRU |  | 3.00 (1 of 1) | 3.00 (1 of 1) |",
    ]
