"""The progress of a run: a bar on a terminal, else a line every ten seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final, Self

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from xrnn.commands.terminal import Terminal
from xrnn.models.trainer import Trainer

_SECONDS_BETWEEN_LINES: Final = 10.0
_WIDEST_BAR: Final = 40
_NARROWEST_BAR: Final = 6  # with the spaces around it


class TrainingProgress:
    """Shows the run's figures, the samples per second and the time left, unless the terminal is quiet.

    last   the number of updates of the run
    """

    def __init__(self, terminal: Terminal, last: int, run: Trainer[Any]) -> None:
        self._terminal, self._run, self._last = terminal, run, max(last, 1)
        self._started = self._last_line = time.monotonic()
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
        """Redraw the bar; without a bar, print a line every ten seconds."""
        done = self._run.steps / self._last
        left = f"{_clock(self._elapsed * (1 / done - 1))} left"
        step = self._run.position
        if self._has_bar:
            room = self._terminal.width - len(step) - _NARROWEST_BAR
            self._bar.update(self._task, completed=done, description=self._fitting(left, room), step=step, refresh=True)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._terminal.note(f"{step}: {self._figures_and_rate()}, {left}")

    def finish(self) -> None:
        """Print the final figures."""
        if self._run.steps:
            self._terminal.note(f"{self._run.position}: {self._figures_and_rate()}, took {_clock(self._elapsed)}")

    @property
    def _elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self._started

    def _fitting(self, left: str, room: int) -> str:
        """The longest text that fits: the time left, with the figures and the rate if there is room."""
        choices = [f"{self._figures_and_rate()}, {left}", f"{self._run.shown_figures[1]}, {left}", left]
        return next((text for text in choices if len(text) <= room), left)

    def _figures_and_rate(self) -> str:
        return f"{self._run.shown_figures[0]}, {self._run.seen / self._elapsed:,.0f} {self._run.samples}/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
