"""The progress of a fit: bars on a terminal, and a line about a training."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.commands.runs import FORECAST, Patch
from xrnn.commands import progress
from xrnn.commands.main import main
from xrnn.commands.progress import TrainingProgress, show_part
from xrnn.series.progress import Advance, each_of, progress_of, shown_by


class Counted:
    """A training with a loss of 4.25."""

    per_epoch = 5

    def __init__(self) -> None:
        self.losses: list[float] = []

    def read_losses(self) -> None:
        """Nothing is on a device."""


def run(patch: Patch, *, terminal: str, width: int = 120) -> tuple[str, list[str]]:
    """30 of 40 updates of half a second → what stderr shows, and the printed lines.

    terminal   TERM of stderr; empty for no terminal
    """
    counted: Any = Counted()
    now = 100.0
    lines = list[str]()
    patch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    patch.setattr(sys, "stderr", shown := io.StringIO())
    for name, value in {"TERM": terminal, "COLUMNS": str(width), "FORCE_COLOR": "1" * bool(terminal)}.items():
        patch.setenv(name, value)
    watcher: Any = TrainingProgress(SimpleNamespace(say=lines.append))  # type: ignore[arg-type]

    def updates(_: int, stops: Any) -> None:
        nonlocal now
        for _ in range(30):
            counted.losses.append(4.25)
            now += 0.5
            assert not stops()

    counted.run = updates
    watcher.run(counted, 40)
    return shown.getvalue(), lines


@pytest.mark.parametrize("width", [120, 40])
def test_a_terminal_gets_a_bar(monkeypatch: Patch, width: int) -> None:
    shown, lines = run(monkeypatch, terminal="xterm", width=width)
    assert lines == ["epoch 6: loss 4.250, took 0:00:15"]
    assert "\x1b[2K" in shown[shown.rindex("━") :]  # the bar does not stay
    bars = [
        re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", each).rstrip() for each in re.split("[\r\n]+", shown) if "━" in each
    ]
    assert re.fullmatch(r"epoch 6: loss 4\.250 [━╸╺]+ 0:00:\d\d", bars[-1])
    assert all(len(line) <= width for line in bars)


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_without_a_bar_there_is_one_line(monkeypatch: Patch, terminal: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    assert run(monkeypatch, terminal=terminal) == ("", ["epoch 6: loss 4.250, took 0:00:15"])
    assert signal.getsignal(signal.SIGINT) is handler


def parts(patch: Patch, counts: dict[str, int], *, terminal: str, seconds: float) -> list[str]:
    """The bars of parts within each other, the last with pieces of some seconds, as stderr shows them."""
    now = 100.0
    patch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    patch.setattr(sys, "stderr", shown := io.StringIO())
    for name, value in {"TERM": terminal, "COLUMNS": "60", "FORCE_COLOR": "1" * bool(terminal)}.items():
        patch.setenv(name, value)

    def run(names: list[str]) -> None:
        nonlocal now
        if not names:
            now += seconds
            return
        with progress_of(names[0], counts[names[0]]) as advance:
            for _ in range(counts[names[0]]):
                run(names[1:])
                advance()

    with shown_by(show_part):
        run([*counts])
    text = shown.getvalue()
    assert "━" not in text or "\x1b[2K" in text[text.rindex("━") :]  # the bar does not stay
    found = [
        re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", each).rstrip() for each in re.split("[\r\n]+", text) if "━" in each
    ]
    assert bool(found) == bool(text)
    return found


def test_a_part_of_more_than_three_seconds_has_a_bar_with_the_time_left(monkeypatch: Patch) -> None:
    bars = parts(monkeypatch, {"linear part": 50}, terminal="xterm", seconds=0.1)
    times = [re.fullmatch(r"linear part [━╸╺]+ 0:00:0(\d)", bar) for bar in bars]
    assert all(times)
    left = [int(each[1]) for each in times if each]
    assert left == sorted(left, reverse=True)
    assert left[0] in (4, 5)  # shown from half a second on
    assert len(bars) > 10


@pytest.mark.parametrize(
    ("counts", "terminal", "seconds"),
    [({"short": 28}, "xterm", 0.1), ({"one piece": 1}, "xterm", 60), ({"a": 50}, "", 0.1), ({"a": 50}, "dumb", 0.1)],
)
def test_a_short_part_and_stderr_that_is_no_terminal_get_no_bar(
    counts: dict[str, int], terminal: str, seconds: float, monkeypatch: Patch
) -> None:
    assert parts(monkeypatch, counts, terminal=terminal, seconds=seconds) == []


def test_only_the_outer_one_of_two_parts_has_a_bar(monkeypatch: Patch) -> None:
    bars = parts(monkeypatch, {"outer": 5, "inner": 40}, terminal="xterm", seconds=0.1)
    assert bars
    assert all(bar.startswith("outer ") for bar in bars)


def test_a_bar_ends_with_an_error_and_results_are_those_of_the_function(monkeypatch: Patch) -> None:
    with pytest.raises(ZeroDivisionError), shown_by(show_part):
        each_of([1, 0], "a", lambda n: 1 / n)
    assert each_of([1, 2], "a", lambda n: 1 / n) == [1, 0.5]


def test_predict_shows_its_files_or_the_series_of_a_single_one(folder: Path, monkeypatch: Patch) -> None:
    assert FORECAST("--out", "forecast") == 0
    shown: list[tuple[str, int]] = []

    @contextlib.contextmanager
    def show(what: str, count: int) -> Iterator[Advance]:
        shown.append((what, count))
        yield lambda: None

    monkeypatch.setattr("xrnn.commands.main.show_part", show)
    (folder / "other.csv").write_text((folder / "rows.csv").read_text())
    assert main(["predict", "forecast", "rows.csv", "other.csv"]) == 0
    assert shown[-1] == ("files", 2)  # loading the model has parts, too
    shown.clear()
    assert main(["predict", "forecast", "rows.csv"]) == 0
    assert shown[-1] == ("series", 1)
