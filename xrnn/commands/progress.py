"""The progress of a training: a bar on a terminal, and a line at its end; and the signals that stop it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from xrnn.commands.terminal import Terminal, noted_signals
from xrnn.series.labelled.base import Watcher
from xrnn.series.labelled.training import Training

_SECONDS_BETWEEN_READS: Final = 0.25  # reading the losses waits for the device, so it is not done at each step


class TrainingProgress(Watcher):
    """Shows the figures of a training and the time left, unless the terminal is quiet.

    Within `with progress:`, the first signal to stop ends the training after its current update. If the output is lost,
    such as a closed pipe, the training continues.

    notes    lines to print first. They come before the first line of `fit`, which has checked its arguments by then
    status   128 + the number of the signal that stopped the training; 0 if none did
    """

    status = 0

    def __init__(self, terminal: Terminal, notes: Sequence[str] = ()) -> None:
        self._terminal, self._notes = terminal, [*notes]
        self._stack = contextlib.ExitStack()
        self._training: Training | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(),
            console=terminal,
            auto_refresh=False,  # its thread would slow the training
            transient=True,
            expand=True,
            # A dumb terminal (TERM=dumb) can't redraw a bar.
            disable=not terminal.is_terminal or terminal.is_dumb_terminal or terminal.quiet,
        )
        self._task = self._bar.add_task("")

    def __enter__(self) -> Self:
        self._stack.enter_context(noted_signals(self._stop))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()
        with contextlib.suppress(OSError):
            self._bar.stop()

    def _stop(self, number: int) -> None:
        self.status, self.stopped = 128 + number, True

    def tell(self, line: str) -> None:
        notes, self._notes = self._notes, []
        with contextlib.suppress(*[OSError] * bool(self._training)):  # a lost output ends the run before the training
            for each in [*notes, line]:
                self._terminal.say(each)

    def began(self, training: Training, last: int) -> None:
        self._training = training
        self._started = self._last_read = time.monotonic()
        self._bar.start()
        self._bar.update(self._task, total=last)

    def updated(self) -> None:
        """Redraw the bar, at an interval."""
        now = time.monotonic()
        if self._training and now - self._last_read >= _SECONDS_BETWEEN_READS:
            self._training.read_losses()
            self._last_read = now
            line = f"{self.position}: {self._training.shown_figures}"
            with contextlib.suppress(OSError):
                self._bar.update(self._task, completed=self._training.steps, description=line, refresh=True)

    def ended(self) -> None:
        """Print the final figures."""
        with contextlib.suppress(OSError):
            self._bar.stop()
            if self._training and self._training.steps:
                took = timedelta(seconds=round(time.monotonic() - self._started))
                self._terminal.say(f"{self.position}: {self._training.shown_figures}, took {took}")

    @property
    def position(self) -> str:
        """Where the training ended; empty before its first update."""
        return self._training.position if self._training and self._training.steps else ""
