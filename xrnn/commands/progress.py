"""The progress of a training: a bar on a terminal, else a line every ten seconds; and the signals that stop it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from xrnn.commands.terminal import Terminal, noted_signals, status_of
from xrnn.series.training import Watcher

_SECONDS_BETWEEN_LINES: Final = 10.0
_SECONDS_BETWEEN_READS: Final = 0.25  # reading the losses waits for the device, so it is not done at each step
_WIDEST_BAR: Final = 40
_NARROWEST_BAR: Final = 6  # with the spaces around it


class TrainingProgress(Watcher):
    """Shows the figures of a training, the samples per second and the time left, unless the terminal is quiet.

    Within `with progress:`, the first signal to stop ends the training after its current update, as does a lost output.

    notes    lines to print first. They come before the first line of `fit`, which has checked its arguments by then
    """

    def __init__(self, terminal: Terminal, notes: Sequence[str] = ()) -> None:
        self._terminal, self._notes = terminal, [*notes]
        self._signals, self._stack = list[signal.Signals](), contextlib.ExitStack()
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
        self._signals = self._stack.enter_context(noted_signals())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        self._stack.close()

    @property
    def status(self) -> int:
        """The exit status: 128 + the number of the signal that stopped the training, or `status_of` a lost output."""
        return 128 + self._signals[0] if self._signals else status_of(self._terminal.lost)

    @property
    def stopped(self) -> bool:  # type: ignore[override]
        return bool(self._signals or self._terminal.lost)

    def tell(self, line: str) -> None:
        notes, self._notes = self._notes, []
        for each in [*notes, line]:
            self._terminal.note(each)

    def began(self, training: Any, last: int) -> None:
        self._training, self._last = training, max(last, 1)
        self._started = self._last_line = self._last_read = time.monotonic()
        self._bar.start()

    def updated(self) -> None:
        """Redraw the bar at an interval; without a bar, print a line every ten seconds."""
        if time.monotonic() - self._last_read < _SECONDS_BETWEEN_READS:
            return
        self._training.read_losses()
        self._last_read = time.monotonic()
        done = self._training.steps / self._last
        left = f"{_clock(self._elapsed * (1 / done - 1))} left"
        step = self._training.position
        if self._has_bar:
            room = max(self._terminal.width - len(step) - _NARROWEST_BAR, 0)
            figures = f"{left}, {self._figures_and_rate()}"[:room]
            self._bar.update(self._task, completed=done, description=figures, step=step, refresh=True)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._terminal.note(f"{step}: {self._figures_and_rate()}, {left}")

    def ended(self) -> None:
        """Print the final figures."""
        self._bar.stop()
        if self._training.steps:
            took = _clock(self._elapsed)
            self._terminal.note(f"{self._training.position}: {self._figures_and_rate()}, took {took}")

    @property
    def position(self) -> str:
        """Where the training ended; empty before its first update."""
        training = getattr(self, "_training", None)
        return training.position if training and training.steps else ""

    @property
    def _elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self._started

    def _figures_and_rate(self) -> str:
        training = self._training
        return f"{training.shown_figures}, {training.seen / self._elapsed:,.0f} {training.samples}/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
