"""What a run shows, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tests.jobs.charlm.texts import TINY, small_corpus
from xrnn.jobs.charlm import progress
from xrnn.jobs.charlm.progress import Goal, TrainingProgress
from xrnn.jobs.charlm.trainer import Trainer
from xrnn.select import get_backend

FIGURES = r"step {step}:? .*\d\.\d{{3}} bits per character, [\d,]+ characters/s, {time}"


class Clock:
    """Stands in for the time module: moves when it is told."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def run(folder: Path, clock: Clock, *, terminal: str, goal: Goal) -> str:
    """What is shown by 30 steps of half a second, each shown; `terminal` is its TERM, or empty for none."""
    output = io.StringIO()
    environment = {"TERM": terminal}
    console = Console(file=output, force_terminal=bool(terminal), width=120, highlight=False, _environ=environment)
    trainer = Trainer(TINY, small_corpus(folder), get_backend("numpy"))
    with TrainingProgress(console, goal, trainer) as shown:
        for _ in range(30):
            trainer.step()
            trainer.read_losses()
            clock.now += 0.5
            shown.show()
        shown.finish()
    return output.getvalue()


def test_a_terminal_gets_a_bar_and_a_line_that_stays(tmp_path: Path, clock: Clock) -> None:
    shown = run(tmp_path, clock, terminal="xterm", goal=Goal(40, 0.0, clock.now))
    assert "━" in shown
    assert re.search(FIGURES.format(step=10, time="0:15 left"), shown)
    assert re.search(FIGURES.format(step=30, time="took 0:15"), shown)


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_elsewhere_there_is_a_line_every_ten_seconds(tmp_path: Path, clock: Clock, terminal: str) -> None:
    first, last = run(tmp_path, clock, terminal=terminal, goal=Goal(None, 60.0, clock.now)).splitlines()
    assert re.fullmatch(FIGURES.format(step=20, time="0:50 left"), first)
    assert re.fullmatch(FIGURES.format(step=30, time="took 0:15"), last)
    assert " 42 characters/s" in last  # 3 × 7 characters every half second


def test_a_goal_is_a_step_or_a_moment(clock: Clock) -> None:
    by_step, by_clock = Goal(5, 1.0, clock.now), Goal(None, 10.0, clock.now)
    clock.now += 9.9
    assert [by_step.reached(steps) for steps in (4, 5, 6)] == [False, True, True]
    assert not by_clock.reached(10**9)
    clock.now += 0.1
    assert by_clock.reached(0)


def test_times_are_hours_minutes_and_seconds() -> None:
    assert [progress._clock(s) for s in (-1.0, 59.6, 3599.4, 36610.0)] == ["0:00", "1:00", "59:59", "10:10:10"]
