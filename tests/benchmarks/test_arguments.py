"""Bad arguments of the benchmarks' commands end in one line that says what was expected."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("accuracy", "--products --cases T1-N1-D64", "--cases is T1-N1-D64: expected parts of names"),
        ("busy", "--parts neighbour,lunch", "argument --parts: lunch: expected some of processes, neighbour"),
        ("classify", "nowhere.ts", "nowhere.ts"),
        ("company", "--parts lunch", "argument --parts: lunch: expected some of beside, loop"),
        ("compare", "--cases H7777", "expected parts of names, with commas between them: T50-N1-D16-H16"),
        ("compare", "--size 3 2 4 0", "argument --size: '0': expected a whole number of at least 1"),
        ("compare", "--cell gru", "got --cell without --size: expected both"),
        ("figures", "--measure lunch", "argument --measure: lunch: expected some of compare-rnn, "),
        ("parallel", "--cells lru", "argument --cells: lru: expected some of rnn, lstm, gru, with commas"),
        ("gpu.choices", "--cell lru --heads 4", "--heads is 4, with --cell lru: expected a cell with a recurrent"),
        ("soak", "--minutes=nan", "argument --minutes: 'nan': expected a number above 0"),
        ("step", "--peers xrnn,theirs", "argument --peers: theirs: expected some of xrnn, "),
        ("step", "--peers numpy", "--peers has no xrnn: expected it, to compare the others with"),
        ("torch_modules", "--cases lru", "--cases is lru: expected parts of names"),
    ],
)
def test_bad_arguments_are_refused(
    command: str, arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        import_module(f"benchmarks.{command}").main(arguments.split())
    assert words in capsys.readouterr().err


def test_a_report_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no results: expected compare.json, .*; run make bench"):
        import_module("benchmarks.report").main([str(tmp_path)])


def test_without_threadpoolctl_only_the_benchmarks_that_use_it_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    for command in ("compare", "report"):
        with pytest.raises(SystemExit, match=r"^0$"):
            import_module(f"benchmarks.{command}").main(["--help"])
    with pytest.raises(SystemExit, match=r"^this benchmark needs threadpoolctl, .* `pip install -e '.\[bench\]'`$"):
        import_module("benchmarks.accuracy").main([])
