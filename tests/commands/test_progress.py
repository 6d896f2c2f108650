"""The progress of a run, on a terminal and elsewhere; no control characters are printed."""

from __future__ import annotations

import io
import re
from typing import ClassVar

import pytest

from tests.commands.runs import Patch
from xrnn.commands import progress
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.terminal import Terminal

FIGURES = r"step {step}:? .*loss \d\.\d{{3}}, accuracy 0\.5, [\d,]+ windows/s, {time}"


class Clock:
    """Replaces the time module; the tests set the time."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: Patch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class Counted:
    """A run with a loss of 4.25 and 21 windows a step."""

    samples: ClassVar[str] = "windows"
    shown_figures = "loss 4.250, accuracy 0.5"
    steps = 0

    def read_losses(self) -> None:
        """Nothing is on a device."""

    @property
    def seen(self) -> int:
        return 21 * self.steps

    @property
    def position(self) -> str:
        return f"step {self.steps:,}"


def run(clock: Clock, *, terminal: str, last: int, width: int = 120) -> str:
    """The output of 30 steps of half a second. terminal: TERM, or empty for no terminal."""
    output = io.StringIO()
    shown_on = Terminal(output, force_terminal=bool(terminal), width=width, _environ={"TERM": terminal})
    counted = Counted()
    with TrainingProgress(shown_on) as shown:
        shown.began(counted, last)
        for _ in range(30):
            counted.steps += 1
            clock.now += 0.5
            shown.updated()
        shown.ended()
    return output.getvalue()


def test_a_terminal_gets_a_bar_and_a_line_that_stays(clock: Clock) -> None:
    shown = run(clock, terminal="xterm", last=40)
    assert "━" in shown
    assert re.search(r"step 10 .*0:15 left, loss \d\.\d{3}, accuracy 0\.5, [\d,]+ windows/s", shown)
    assert re.search(FIGURES.format(step=30, time="took 0:15"), shown)
    assert "\x1b[2K" in shown[shown.rindex("━") :]  # the bar itself does not stay


def test_a_run_without_a_step_prints_only_the_notes_before_its_first_line() -> None:
    output = io.StringIO()
    with TrainingProgress(Terminal(output), ["series: 2"]) as shown:
        assert not output.getvalue()
        shown.tell("model: 1 layer")
        shown.tell("choosing")
        shown.began(Counted(), 5)
        shown.ended()
    assert output.getvalue() == "series: 2\nmodel: 1 layer\nchoosing\n"
    assert (shown.position, shown.status, shown.stopped) == ("", 0, False)


@pytest.mark.parametrize(
    ("width", "figures"),
    [
        (80, "0:05 left, loss 4.250, accuracy 0.5, 42 windows/s"),
        (44, "0:05 left, loss 4.250, accuracy"),
        (24, "0:05 left,"),
    ],
)
def test_a_narrow_terminal_shows_the_step_and_the_time_left(clock: Clock, width: int, figures: str) -> None:
    shown = run(clock, terminal="xterm", last=40, width=width)
    lines = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line).strip() for line in re.split("[\r\n]+", shown)]
    last = [line for line in lines if line.startswith("step 30 ")][-1]
    assert re.fullmatch(f"step 30 +[━╸╺]+ +{re.escape(figures)}", last)
    assert all(len(line) <= width for line in lines if "━" in line)


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_without_a_bar_there_is_a_line_every_ten_seconds(clock: Clock, terminal: str) -> None:
    first, last = run(clock, terminal=terminal, last=130).splitlines()
    assert re.fullmatch(FIGURES.format(step=20, time="0:55 left"), first)
    assert re.fullmatch(FIGURES.format(step=30, time="took 0:15"), last)
    assert " 42 windows/s" in last  # 21 windows every half second


def test_times_are_hours_minutes_and_seconds() -> None:
    assert [progress._clock(s) for s in (-1.0, 59.6, 3599.4, 36610.0)] == ["0:00", "1:00", "59:59", "10:10:10"]


# ---- the terminal ----


def test_control_characters_are_replaced() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True).say("checkpoint: \x1b]0;title\x07[bold]c\n\tof it")
    assert stream.getvalue() == "checkpoint: �]0;title�[bold]c\n\tof it\n".expandtabs(8)


def test_a_row_is_one_of_a_csv_table() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True, width=10).row("a label\twith a tab", "\x1b[2J", "a name longer than the line")
    assert stream.getvalue() == "a label�with a tab,�[2J,a name longer than the line\n"
