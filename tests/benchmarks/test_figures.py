"""The tables of README.md and of the docs are those of the committed results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures, markdown
from benchmarks.cases import Case
from tests.benchmarks.test_report import ONE_ROW, results, row


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.name)
def test_a_page_has_the_tables_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert figures.written(text, figures.RESULTS) == text, "python -m benchmarks.figures writes the tables"


def test_each_table_is_in_a_page_and_each_result_in_a_table() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in figures.PAGES)
    assert [name for name in figures.TABLES if f"<!-- figures: {name} -->" not in text] == []
    used = {name for _, names in figures.TABLES.values() for name in names}
    assert set(figures.RUNS) - used == set()


def test_a_changed_result_changes_its_table(tmp_path: Path) -> None:
    rows = [row(ONE_ROW, operation, xrnn=100.0, torch=250.0) for operation in ("forward", "train")]
    (tmp_path / "compare-rnn.json").write_text(json.dumps(results(*rows)))
    page = "before\n\n<!-- figures: RNN -->\n| old |\n\n<!-- end of figures -->\n\nafter\n"
    text = figures.written(page, tmp_path)
    assert text.startswith("before\n\n<!-- figures: RNN -->\n| T, N, D, H | forward, µs |")
    assert text.endswith("| 2.50 PyTorch |\n\n<!-- end of figures -->\n\nafter\n")
    assert "old" not in text
    assert figures.written(text, tmp_path) == text


def test_times_by_size_and_means() -> None:
    times = {
        ONE_ROW: {"forward": (5.12, 10.24), "train": (1234.5, 617.25)},
        Case(50, 1, 16, 16): dict.fromkeys(("forward", "train"), (5.0, 10.0)),  # only in the means
        Case(35, 48, 100, 200, ragged=True): dict.fromkeys(("forward", "train"), (5.0, 10.0)),
    }
    file = results(
        *(
            row(case, operation, xrnn=ours, numpy=peer, torch=9 * peer, **{"xrnn-plain": 1.0})
            for case, of_case in times.items()
            for operation, (ours, peer) in of_case.items()
        )
    )
    assert markdown.sizes(file)[2:] == ["| 50, 1, 64, 64 | 5.1 | 2.00 NumPy loop | 1,234 | 0.50 NumPy loop |"]
    assert markdown.means(file)[2:] == [
        "| RNN |  | 2.00 (2 of 2) | 1.00 (1 of 2) |",
        "| RNN, different lengths |  | 2.00 (1 of 1) | 2.00 (1 of 1) |",
    ]
    assert markdown.behind(file)[2:] == ["| RNN | forward + backward | 50, 1, 64, 64 | 0.50 | NumPy loop |"]


def test_a_run_leaves_one_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrote(command: list[str], *, env: dict[str, str], check: bool) -> None:
        assert check
        assert command[1:4] == ["-m", "benchmarks.compare", "--cases"]
        assert env["XRNN_ISA"] == env["ATEN_CPU_CAPABILITY"] == "avx2"
        (Path(command[command.index("--out") + 1]) / "compare.json").write_text("{}")

    monkeypatch.setattr(subprocess, "run", wrote)
    figures.measure("compare-avx2", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["compare-avx2.json"]


def test_missing_results_are_named_before_a_page_is_written(tmp_path: Path, capsys: Any) -> None:
    before = [page.read_bytes() for page in figures.PAGES]
    with pytest.raises(SystemExit):
        figures.main(["--results", str(tmp_path)])
    assert f"{tmp_path} lacks compare-rnn,compare-lstm," in capsys.readouterr().err
    assert [page.read_bytes() for page in figures.PAGES] == before
