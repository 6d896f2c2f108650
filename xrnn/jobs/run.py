"""A training run from what was asked for to what it leaves: the part that is the same for every job."""

from __future__ import annotations

import contextlib
import math
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from xrnn.backend import Backend
from xrnn.install import install_hint
from xrnn.jobs.checkpoint import Checkpoints, Snapshot
from xrnn.jobs.errors import DivergedError, SettingsError
from xrnn.jobs.progress import Goal, TrainingProgress
from xrnn.jobs.results import Results, Wanted, choose
from xrnn.jobs.settings import Settings, option
from xrnn.jobs.signals import noted_signals
from xrnn.jobs.terminal import Terminal, status_of
from xrnn.jobs.trainer import Trainer

SAVE_EVERY: Final = 250  # steps
_SECONDS_BETWEEN_READS: Final = 0.25  # how often the run waits for the device, to show the loss
_MOST_MINUTES: Final = 365 * 24 * 60
_MOST: Final = 10**12  # steps or epochs

T = TypeVar("T", bound=Trainer[Any])


class Data(Protocol):
    """What a run learns from."""

    @property
    def source(self) -> str:
        """One line for people."""
        ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def facts(self) -> Any:
        """What the model has to know of them: see `Snapshot`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[T]):
    """What was asked for, and what one job does in its own way: the class variables, `load` and `report`."""

    paths: Sequence[Path]  # of the data
    given: dict[str, Any]  # the settings that were given; the others are the defaults, or the checkpoint's
    minutes: float | None = None  # from the first step of this run
    upto: int | None = None  # so many steps or epochs in all, those before a resume included
    save_every: int = SAVE_EVERY  # steps
    wanted: Wanted

    checkpoints: ClassVar[Checkpoints[Any]]
    default_out: ClassVar[Path]
    trainer: ClassVar[Any]  # T
    unit: ClassVar[str]  # what `upto` counts: "steps"
    data: ClassVar[str]  # as people call them: "text"
    argument: ClassVar[str]  # that names them: "PATHs"

    def __post_init__(self) -> None:
        if self.minutes is not None and self.upto is not None:
            raise SettingsError(f"got both --minutes and --{self.unit}: expected one of them; leave one out")
        if self.upto is not None and not 1 <= self.upto <= _MOST:
            raise SettingsError(f"--{self.unit} is {self.upto}: expected a whole number from 1 to {_MOST}")
        if self.minutes is not None and not 0 < self.minutes <= _MOST_MINUTES:
            raise SettingsError(
                f"--minutes is {self.minutes}: expected a positive number up to {_MOST_MINUTES}, which is a year"
            )
        if self.save_every < 1:
            raise SettingsError(f"--save-every is {self.save_every}: expected a whole number of at least 1")

    def load(self, settings: Any) -> Data:
        """Read the data at `paths`.   Raises DataError."""
        raise NotImplementedError

    def default_upto(self, trainer: T) -> int:
        """How many steps or epochs there are where neither `upto` nor `minutes` is given."""
        raise NotImplementedError

    def report(self, trainer: T, results: Results, terminal: Terminal) -> None:
        """Test what was learned, say the figures, draw the picture."""
        raise NotImplementedError


def run(job: Job[T], backend: Backend, terminal: Terminal) -> int:
    """Run `job` and print what it does → the exit status: 0, or that of what stopped it, 128 + the number of a signal.

    Raises JobError for what the user can mend: before the first step wherever it can be known by then.
    """
    with contextlib.ExitStack() as reservation:
        wrote = job.checkpoints.wrote
        results = choose(job.wanted, job.default_out, wrote, job.paths, terminal.say, reservation)
        settings, snapshot = _settings(job)
        trainer = _trainer(job, settings, snapshot, backend, terminal)
        if terminal.lost:
            return status_of(terminal.lost)
        status = _train(trainer, job, _last_step(job, trainer), results, terminal)
        if status:
            return status
        try:
            job.report(trainer, results, terminal)
        except KeyboardInterrupt:
            terminal.say(f"interrupted after training; {results.checkpoint.path} holds step {trainer.steps:,}")
            return 128 + signal.SIGINT
        return 0


def say_whether_drawn(drawn: bool, name: str, path: Path, terminal: Terminal) -> None:
    """Tell where the picture is, or what it would take to have one."""
    if drawn:
        terminal.say(f"{name}: {path}")
    else:
        terminal.say(f"{name}: not drawn, Matplotlib is not installed ({install_hint('plot')})")


def _settings(job: Job[T]) -> tuple[Settings, Snapshot[Any] | None]:
    """The settings of the run, and what it goes on from."""
    resume = job.wanted.resume
    if resume is None:
        return job.checkpoints.settings(**job.given), None
    snapshot = job.checkpoints.load(resume)
    for name, value in job.given.items():
        if value != (kept := getattr(snapshot.settings, name)):
            raise SettingsError(
                f"{option(name)} is {value}, but {resume} was trained with {kept}: leave the option out, or "
                "train anew without --resume"
            )
    return snapshot.settings, snapshot


def _trainer(job: Job[T], settings: Any, snapshot: Snapshot[Any] | None, backend: Backend, terminal: Terminal) -> T:
    """Read the data, say what will be trained on what, and make the trainer."""
    data = job.load(settings)
    if snapshot and (data.fingerprint, data.facts) != (snapshot.fingerprint, snapshot.facts):
        raise SettingsError(
            f"{job.wanted.resume} was trained on other {job.data}: expected the same {job.argument} with the same "
            "content; give that, or train anew without --resume"
        )
    specs = job.checkpoints.specs(settings, data.facts, 0)
    weights = sum(math.prod(spec.shape) for name, spec in specs.items() if name.startswith("model."))
    resumed = f"; resumed at step {snapshot.step:,}" if snapshot and snapshot.step else ""
    terminal.say(f"{job.data}: {data.source}")
    terminal.say(f"model: {settings.model}, {weights:,} weights; {settings.training}; seed {settings.seed}{resumed}")
    trainer: T = job.trainer.resume(snapshot, data, backend) if snapshot else job.trainer(settings, data, backend)
    return trainer


def _last_step(job: Job[T], trainer: T) -> int | None:
    """The step to stop at, those before this run included; None: stop by the clock."""
    if job.minutes is not None:
        return None
    if job.upto is None:
        return max(trainer.steps, job.default_upto(trainer) * trainer.per_unit)
    last = job.upto * trainer.per_unit
    if last < trainer.steps:
        end = f", which end at step {last:,}," if trainer.per_unit > 1 else ","
        raise SettingsError(
            f"--{job.unit} is {job.upto:,}{end} but {job.wanted.resume} is at step {trainer.steps:,}: expected the "
            f"{job.unit} in all, those before it included; give more"
        )
    return last


def _train(trainer: T, job: Job[T], last: int | None, results: Results, terminal: Terminal) -> int:
    """Train until the goal → 0, or until a signal or the loss of the output → its status. The end is saved."""
    goal = Goal(last, (job.minutes or 0.0) * 60)
    out = results.checkpoint
    last_read = time.monotonic()
    saved: int | None = None

    def save() -> None:
        nonlocal saved
        job.checkpoints.save(out.path, trainer.snapshot(), out.put)
        saved = trainer.steps

    try:
        with noted_signals() as noted, TrainingProgress(terminal, goal, trainer) as progress:
            while not (goal.reached(trainer.steps) or noted or terminal.lost):
                trainer.step()
                if trainer.steps % job.save_every == 0:
                    save()
                if time.monotonic() - last_read >= _SECONDS_BETWEEN_READS:
                    trainer.read_losses()
                    progress.show()
                    last_read = time.monotonic()
            save()
            progress.finish()
    except DivergedError as error:
        kept = f"{out.path} holds step {saved:,}" if saved is not None else "no checkpoint was written"
        raise DivergedError(f"{error}; {kept}") from error
    status = 128 + noted[0] if noted else status_of(terminal.lost)
    if not status:
        return 0
    line = f"stopped at step {trainer.steps:,} and saved {out.path}; go on with\n  {_resume_command(job, out.path)}"
    terminal.say(line)
    if terminal.lost and sys.stderr is not None:  # nobody reads there any more
        Terminal(sys.stderr).say(line)
    return status


def _resume_command(job: Job[T], out: Path) -> str:
    """The command that goes on from what was saved."""
    words = [*job.checkpoints.command.split(), *map(str, job.paths), "--resume", str(out)]
    words += ["--minutes", f"{job.minutes:g}"] if job.minutes is not None else []
    words += [f"--{job.unit}", str(job.upto)] if job.upto is not None else []
    words += ["--save-every", str(job.save_every)] if job.save_every != SAVE_EVERY else []
    words += ["--plot", str(job.wanted.plot)] if job.wanted.plot else []
    return shlex.join(words)
