"""The progress of a run, on a terminal and elsewhere; no control characters are printed."""

from __future__ import annotations

import io
import re
import signal
from types import SimpleNamespace

import pytest

from tests.commands.runs import Patch
from xrnn.commands import progress
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.terminal import Terminal


class Counted:
    """A training with a loss of 4.25."""

    shown_figures = "loss 4.250"
    steps = 0

    def read_losses(self) -> None:
        """Nothing is on a device."""

    @property
    def position(self) -> str:
        return f"step {self.steps:,}"


def run(patch: Patch, *, terminal: str, width: int = 120) -> str:
    """The output of 30 of 40 steps of half a second. terminal: TERM, or empty for no terminal."""
    output, counted, now = io.StringIO(), Counted(), 100.0
    patch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    shown_on = Terminal(output, force_terminal=bool(terminal), width=width, _environ={"TERM": terminal})
    with TrainingProgress(shown_on) as shown:
        shown.began(counted, 40)  # type: ignore[arg-type]
        for _ in range(30):
            counted.steps += 1
            now += 0.5
            shown.updated()
        shown.ended()
    return output.getvalue()


@pytest.mark.parametrize("width", [120, 40])
def test_a_terminal_gets_a_bar_and_a_line_that_stays(monkeypatch: Patch, width: int) -> None:
    shown = run(monkeypatch, terminal="xterm", width=width)
    assert "\x1b[2K" in shown[shown.rindex("━") :]  # the bar itself does not stay
    lines = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line).rstrip() for line in re.split("[\r\n]+", shown)]
    bars = [line for line in lines if "━" in line]
    assert re.fullmatch(r"step 30: loss 4\.250 [━╸╺]+ 0:00:\d\d", bars[-1])
    assert all(len(line) <= width for line in bars)
    assert [line for line in lines if line][-1] == "step 30: loss 4.250, took 0:00:15"


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_without_a_bar_there_is_one_line(monkeypatch: Patch, terminal: str) -> None:
    assert run(monkeypatch, terminal=terminal) == "step 30: loss 4.250, took 0:00:15\n"


def test_a_run_without_a_step_prints_only_the_notes_before_its_first_line() -> None:
    output, handler = io.StringIO(), signal.getsignal(signal.SIGINT)
    with TrainingProgress(Terminal(output), ["series: 2"]) as shown:
        assert not output.getvalue()
        shown.tell("model: 1 layer")
        shown.tell("choosing")
        shown.began(Counted(), 5)  # type: ignore[arg-type]
        shown.ended()
    assert output.getvalue() == "series: 2\nmodel: 1 layer\nchoosing\n"
    assert (shown.position, shown.status, shown.stopped) == ("", 0, False)
    assert signal.getsignal(signal.SIGINT) is handler


def test_control_characters_are_replaced() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True).say("checkpoint: \x1b]0;title\x07[bold]c\n\tof it")
    assert stream.getvalue() == "checkpoint: �]0;title�[bold]c\n\tof it\n".expandtabs(8)
