"""How a run shows itself: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from xrnn.jobs.charlm.trainer import Trainer

_SMOOTH: Final = 100  # steps that the loss shown is a mean of
_SECONDS_BETWEEN_LINES: Final = 10.0


@dataclass(frozen=True, slots=True)
class Goal:
    """When to stop: after `steps` in all, or, with None, `seconds` from now."""

    steps: int | None
    seconds: float
    started: float = field(default_factory=time.monotonic)

    def reached(self, steps: int) -> bool:
        return self.elapsed >= self.seconds if self.steps is None else steps >= self.steps

    def fraction(self, first: int, steps: int) -> float:
        """How much of the way is behind, having begun at step `first`."""
        if self.steps is None:
            return self.elapsed / self.seconds
        return (steps - first) / max(self.steps - first, 1)

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self.started


class TrainingProgress:
    """Shows loss in bits per character, characters per second and the time left."""

    def __init__(self, console: Console, goal: Goal, trainer: Trainer) -> None:
        self._console, self._goal, self._trainer = console, goal, trainer
        self._first = trainer.steps
        self._last_line = goal.started
        # A dumb terminal (TERM=dumb) can't move back over a bar.
        self._has_bar = console.is_terminal and not console.is_dumb_terminal
        self._bar = Progress(
            TextColumn("step {task.fields[step]:,}"),
            BarColumn(),
            TextColumn("{task.description}"),
            console=console,
            auto_refresh=False,  # its thread would take time from the arithmetic
            transient=True,
            disable=not self._has_bar,
        )
        self._task = self._bar.add_task("", total=1.0, step=self._first)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def show(self) -> None:
        """Draw the bar anew; where there can be none, print a line every ten seconds."""
        steps = self._trainer.steps
        done = self._goal.fraction(self._first, steps)
        left = self._goal.elapsed * (1 / done - 1)
        text = f"{self._loss_and_rate()}, {_clock(left)} left"
        self._bar.update(self._task, completed=done, description=text, step=steps, refresh=True)
        if not self._has_bar and time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._console.print(f"step {steps:,}: {text}")

    def finish(self) -> None:
        """Print where the run stands, in a line that stays."""
        steps = self._trainer.steps
        if steps > self._first:
            self._console.print(f"step {steps:,}: {self._loss_and_rate()}, took {_clock(self._goal.elapsed)}")

    def _loss_and_rate(self) -> str:
        trainer = self._trainer
        loss = np.mean(trainer.losses[-_SMOOTH:])
        characters = (trainer.steps - self._first) * trainer.settings.seq_len * trainer.settings.batch
        return f"{loss:.3f} bits per character, {characters / self._goal.elapsed:,.0f} characters/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
