"""The README's table says what the results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme
from benchmarks.cases import CELLS, GATED, RAGGED, Case


def cell(operation: str, ours: float, peer: float, case: Case = CELLS[0]) -> dict[str, Any]:
    times = {"xrnn": [ours] * 3, "xrnn-plain": [1.0] * 3, "numpy": [peer] * 3, "torch": [9 * peer] * 3}
    return {
        "case": case.name,
        "operation": operation,
        "flops": case.flops(operation),
        "microseconds": times,
        "ceiling_gflops": [100.0] * 3,
    }


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell("forward", 5.12, 10.24), cell("train", 1234.5, 617.25)]
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"cells": cells}))
    readme.main([str(path)])
    row, forward, train = capsys.readouterr().out.splitlines()[4:]
    share = CELLS[0].flops("forward") / 5.12e-6 / 100e9
    assert row == (f"| 50, 1, 16, 16 | 5.1 | 2.00 (2.00–2.00) numpy | {share:.0%} | 1,234 | 0.50 (0.50–0.50) numpy |")
    assert forward == "forward: geometric mean 2.00, ahead in 1 of 1 cells"
    assert train == "train: geometric mean 0.50, ahead in 0 of 1 cells"


def test_cells_with_gates_have_tables_of_their_own() -> None:
    case = next(case for case in GATED if case.cell == "gru")
    cells = [cell("forward", 5.0, 10.0), cell("train", 5.0, 10.0)]
    cells += [cell("forward", 4.0, 12.0, case), cell("train", 4.0, 12.0, case)]
    rnn, gru = readme.table({"cells": cells}).split("\n\nGRU:\n\n")
    sizes = f"| {case.T}, {case.N}, {case.D}, {case.H} |"
    assert "forward: geometric mean 2.00, ahead in 1 of 1 cells" in rnn
    assert sizes in gru
    assert "forward: geometric mean 3.00, ahead in 1 of 1 cells" in gru
    assert f"{case.flops('forward') / 4.0e-6 / 100e9:.0%}" in gru


def test_short_tables_have_fewer_rows_and_the_same_means() -> None:
    both = CELLS[:2]
    cells = [cell(operation, 5.0, 10.0, case) for case in (*both, RAGGED[0]) for operation in ("forward", "train")]
    lines = readme.table({"cells": cells}, short=True).splitlines()
    assert [line.split(" | ")[0] for line in lines[4:-2]] == ["| 50, 1, 64, 64"]
    assert lines[-2] == "forward: geometric mean 2.00, ahead in 2 of 2 cells"


def test_a_ragged_batch_says_its_share_of_the_full_one() -> None:
    cells = [cell(operation, 4.0, 12.0, RAGGED[0]) for operation in ("forward", "train")]
    for measured, base in zip(cells, (8.0, 5.0), strict=True):
        measured["base_microseconds"] = {"xrnn": [base] * 3}
    lines = readme.table({"cells": cells}).splitlines()
    assert lines[0] == "RNN, different lengths:"
    assert lines[2].endswith("| of full batch |")
    assert lines[4].endswith("| 0.50, 0.80 |")
