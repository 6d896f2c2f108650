"""The progress of a fit: bars on a terminal; of a training also a line at its end, and the signals that stop it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from types import FrameType
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from xrnn.commands.output import Run
from xrnn.series.labelled.base import Watcher
from xrnn.series.labelled.recurrent import Training
from xrnn.series.progress import Advance

_SECONDS_BETWEEN_READS: Final = 0.25  # reading the losses waits for the device, so it is not done at each step
_LONG: Final = 3.0  # seconds: shorter parts of a fit have no bar
_FIRST_ESTIMATE: Final = 0.5  # seconds, after which the time of a part is estimated
_AVERAGED: Final = 100  # updates: the shown loss is the mean over the last ones


def _bar() -> Progress:
    """A bar on stderr, which shows nothing if that is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,  # its thread would slow the training
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
        get_time=time.monotonic,
        disable=not console.is_terminal or console.is_dumb_terminal,  # TERM=dumb can't redraw a bar
    )


@contextlib.contextmanager
def show_part(what: str, count: int) -> Iterator[Advance]:
    """A bar for a part of a fit, see `progress_of`, once it is expected to take more than three seconds in all."""
    bar = _bar()
    started = time.monotonic()
    done = 0
    last = 0.0
    task = bar.add_task(what, total=count)

    def advance() -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if bar.disable or now - last < _SECONDS_BETWEEN_READS:
            return
        last = now
        bar.update(task, completed=done)
        elapsed = now - started
        if done < count and elapsed >= _FIRST_ESTIMATE and elapsed * count > _LONG * done:
            bar.start()
        bar.refresh()

    try:
        yield advance
    finally:
        bar.stop()


class TrainingProgress(Watcher):
    """A bar on stderr, if it is a terminal, and a line with the last figures.

    Ctrl-C and SIGTERM end the training after its current update. A second one has its normal effect.

    status   128 + the number of the signal that ended the training; 0 if none did
    """

    status = 0

    def __init__(self, run: Run) -> None:
        self._run = run
        self._bar = _bar()

    def tell(self, line: str) -> None:
        self._run.say(line)

    def run(self, training: Training, last: int) -> None:
        """Print the final figures, too, if an error ends the training."""
        self._training = training
        started = self._last_read = time.monotonic()
        stopping = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
        self._handlers = {each: signal.signal(each, self._stop) for each in stopping}
        self._task = self._bar.add_task("", total=last)
        try:
            with self._bar:
                training.run(last, self._updated)
        finally:
            self._restore_handlers()
            if training.losses:
                self.tell(f"{self._figures()}, took {timedelta(seconds=round(time.monotonic() - started))}")

    def _figures(self) -> str:
        losses, per_epoch = self._training.losses, self._training.per_epoch
        return f"epoch {len(losses) // per_epoch:,}: loss {np.mean(losses[-_AVERAGED:]):.3f}"

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._restore_handlers()
        self.status = 128 + number

    def _restore_handlers(self) -> None:
        for each, handler in self._handlers.items():
            signal.signal(each, handler)

    def _updated(self) -> bool:
        """Redraw the bar, at an interval → whether a signal ends the training."""
        if (now := time.monotonic()) - self._last_read >= _SECONDS_BETWEEN_READS:
            self._training.read_losses()
            self._last_read = now
            done = len(self._training.losses)
            self._bar.update(self._task, completed=done, description=self._figures(), refresh=True)
        return self.status > 0
