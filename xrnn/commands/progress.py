"""The progress of a run: a bar on a terminal, else a line every ten seconds; and a row in its log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from xrnn.commands.outputs import Log
from xrnn.commands.terminal import Terminal
from xrnn.models.trainer import Trainer

_SECONDS_BETWEEN_LINES: Final = 10.0
_WIDEST_BAR: Final = 40
_NARROWEST_BAR: Final = 6  # with the spaces around it


@dataclass(frozen=True, slots=True)
class Goal:
    """When to stop: at `steps`, counted from the first run, or, if that is None, `seconds` from now."""

    steps: int | None
    seconds: float
    started: float = field(default_factory=time.monotonic)

    def reached(self, steps: int) -> bool:
        return self.elapsed >= self.seconds if self.steps is None else steps >= self.steps

    def fraction(self, first: int, steps: int) -> float:
        """The completed fraction of a run that began at step `first`."""
        if self.steps is None:
            return self.elapsed / self.seconds
        return (steps - first) / max(self.steps - first, 1)

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self.started


class TrainingProgress:
    """Shows the run's figures, the samples per second and the time left, unless the terminal is quiet.

    A row of `log`: the step, the seconds since the run began, the number of samples, the run's figures.
    """

    def __init__(self, terminal: Terminal, goal: Goal, run: Trainer[Any], log: Log | None = None) -> None:
        self._terminal, self._goal, self._run, self._log = terminal, goal, run, log
        self._first, self._first_items = run.steps, run.seen
        self._last_line = goal.started
        # A dumb terminal (TERM=dumb) can't redraw a bar.
        self._has_bar = terminal.is_terminal and not terminal.is_dumb_terminal and terminal.shows_notes
        self._bar = Progress(
            TextColumn("{task.fields[step]}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, max_width=_WIDEST_BAR)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            console=terminal,
            auto_refresh=False,  # its thread would slow the training
            transient=True,
            expand=True,
            disable=not self._has_bar,
        )
        self._task = self._bar.add_task("", total=1.0, step="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def show(self) -> None:
        """Log the figures, and redraw the bar; without a bar, print a line every ten seconds."""
        self._write_row()
        done = self._goal.fraction(self._first, self._run.steps)
        left = f"{_clock(self._goal.elapsed * (1 / done - 1))} left"
        step = self._run.position
        if self._has_bar:
            room = self._terminal.width - len(step) - _NARROWEST_BAR
            self._bar.update(self._task, completed=done, description=self._fitting(left, room), step=step, refresh=True)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._terminal.note(f"{step}: {self._figures_and_rate()}, {left}")

    def finish(self) -> None:
        """Log and print the final figures."""
        if self._run.steps > self._first:
            self._write_row()
            took = _clock(self._goal.elapsed)
            self._terminal.note(f"{self._run.position}: {self._figures_and_rate()}, took {took}")

    def _fitting(self, left: str, room: int) -> str:
        """The longest text that fits: the time left, with the figures and the rate if there is room."""
        choices = [f"{self._figures_and_rate()}, {left}", f"{self._run.shown_figures[1]}, {left}", left]
        return next((text for text in choices if len(text) <= room), left)

    def _write_row(self) -> None:
        if self._log:
            self._log.row([self._run.steps, self._goal.elapsed, self._run.seen, *self._run.figures])

    def _figures_and_rate(self) -> str:
        rate = (self._run.seen - self._first_items) / self._goal.elapsed
        return f"{self._run.shown_figures[0]}, {rate:,.0f} {self._run.samples}/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
