"""The tables of the docs say what the results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme
from benchmarks.cases import Case

RNN = Case(50, 1, 16, 16)
RAGGED = Case(35, 48, 100, 200, ragged=True)


def row(operation: str, ours: float, peer: float, case: Case = RNN) -> dict[str, Any]:
    times = {"xrnn": [ours] * 3, "xrnn-plain": [1.0] * 3, "numpy": [peer] * 3, "torch": [9 * peer] * 3}
    return {
        "case": case.name,
        "cell": case.cell,
        "ragged": case.ragged,
        "operation": operation,
        "flops": case.flops(operation),
        "microseconds": times,
        "ceiling_gflops": [100.0] * 3,
    }


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("forward", 5.12, 10.24), row("train", 1234.5, 617.25)]
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"cells": rows}))  # as older files name them
    readme.main([str(path)])
    title, _, *_, line = capsys.readouterr().out.splitlines()
    share = RNN.flops("forward") / 5.12e-6 / 100e9
    assert line == f"| 50, 1, 16, 16 | 5.1 | 2.00 (2.00–2.00) numpy | {share:.0%} | 1,234 | 0.50 (0.50–0.50) numpy |"
    means = "forward 2.00, ahead in 1 of 1 sizes; forward + backward 0.50, ahead in 0 of 1 sizes"
    assert title == f"RNN; geometric means: {means}:"


def test_cells_with_gates_have_tables_of_their_own() -> None:
    case = Case(50, 1, 64, 64, cell="gru")
    rows = [row("forward", 5.0, 10.0), row("train", 5.0, 10.0)]
    rows += [row("forward", 4.0, 12.0, case), row("train", 4.0, 12.0, case)]
    rnn, gru = readme.table({"cases": rows}).split("\n\nGRU; ")
    assert "forward 2.00, ahead in 1 of 1 sizes" in rnn
    assert "| 50, 1, 64, 64 |" in gru
    assert "forward 3.00, ahead in 1 of 1 sizes" in gru
    assert f"{case.flops('forward') / 4.0e-6 / 100e9:.0%}" in gru


def test_short_tables_have_fewer_rows_and_the_same_means() -> None:
    cases = (RNN, Case(50, 1, 64, 64), RAGGED)
    rows = [row(operation, 5.0, 10.0, case) for case in cases for operation in ("forward", "train")]
    lines = readme.table({"cases": rows}, short=True).splitlines()
    assert lines[4:] == ["| 50, 1, 64, 64 | 5.0 | 2.00 numpy | 5.0 | 2.00 numpy |"]
    assert "forward 2.00, ahead in 2 of 2 sizes" in lines[0]


def test_a_ragged_batch_has_its_fraction_of_the_full_batch() -> None:
    rows = [row(operation, 4.0, 12.0, RAGGED) for operation in ("forward", "train")]
    for measured, base in zip(rows, (8.0, 5.0), strict=True):
        measured["base_microseconds"] = {"xrnn": [base] * 3}
    lines = readme.table({"cases": rows}).splitlines()
    assert lines[0].startswith("RNN, different lengths; ")
    assert lines[2].endswith("| of full batch |")
    assert lines[4].endswith("| 0.50, 0.80 |")
