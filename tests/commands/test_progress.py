"""The progress of a training: a bar on a terminal, and a line."""

from __future__ import annotations

import io
import re
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.commands.runs import Patch
from xrnn.commands import progress
from xrnn.commands.progress import TrainingProgress


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
    now, lines = 100.0, list[str]()
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
