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


def test_recent_cells_are_compared_with_each_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for cell, peers in (
        ("min-gru", {"torch-minimal": [8.0] * 3, "jax-1": [6.0] * 3, "jax-8": [4.0] * 3, "jax-associative": [1.0] * 3}),
        ("slstm", {"jax-1": [6.0] * 3}),
    ):
        case = Case(50, 1, 64, 64, cell=cell)
        rows = [row(operation, 2.0, 1.0, case) for operation in ("forward", "train")]
        rows[1]["microseconds"] = {"xrnn": [2.0] * 3, **peers}
        rows[0]["microseconds"] = {"xrnn": [2.0] * 3, "jax-1": [3.0] * 3}
        files.append(tmp_path / f"{cell}.json")
        files[-1].write_text(json.dumps({"cases": rows}))
    readme.main([str(path) for path in files])
    assert capsys.readouterr().out.splitlines() == [
        "|  | one step | forward | forward + backward |",
        "|---|--:|--:|--:|",
        "| minGRU beside PyTorch |  |  | 4.00 (1 of 1) |",
        "| minGRU beside JAX, `lax.scan` |  | 1.50 (1 of 1) | 2.00 (1 of 1) |",
        "| minGRU beside JAX, `associative_scan` |  |  | 0.50 (0 of 1) |",
        "| sLSTM beside JAX, `lax.scan` |  | 1.50 (1 of 1) | 3.00 (1 of 1) |",
    ]


def test_steps_of_frozen_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = row("step", 120.4, 60.25, Case(1, 16, 512, 512, cell="lstm"))
    step["microseconds"] = {"torch": [200.0] * 3, "xrnn": [120.4] * 3, "xrnn.freeze": [60.25] * 3}
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"cases": [step]}))
    readme.main([str(path)])
    assert capsys.readouterr().out.splitlines() == [
        "| one step: N, D, H | xrnn, µs | frozen, µs | PyTorch, µs |",
        "|---|--:|--:|--:|",
        "| LSTM 16, 512, 512 | 120 | 60.2 | 200 |",
    ]


def test_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def of(case: str, **peaks: float) -> dict[str, Any]:
        return {"case": case, "h_bytes": 4e6, "peak_bytes": {"forward": {}, "train": peaks}}

    rows = [of("T10-N1-D2-H3", xrnn=1e7, torch=4e7), of("min-gru-T10-N1-D2-H3", xrnn=2e7, **{"torch-minimal": 5e7})]
    path = tmp_path / "memory.json"
    path.write_text(json.dumps({"cases": rows}))
    readme.main([str(path)])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| RNN | 10 | 40 | 0.25 | 4 |",
        "| minGRU | 20 | 50 | 0.40 | 4 |",
    ]
