"""A training run, from its options to its results: the part that all jobs share."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

import numpy as np

from xrnn.backend import Backend
from xrnn.commands.options import RunOptions, flag, selected
from xrnn.commands.outputs import Log, Outputs
from xrnn.commands.pictures import Picture
from xrnn.commands.progress import Goal, TrainingProgress
from xrnn.commands.terminal import Terminal, noted_signals, status_of
from xrnn.info import selection_lines
from xrnn.models.checkpoint import Kind, PictureRecord, Snapshot
from xrnn.models.errors import DivergedError, OutputError, SettingsError
from xrnn.models.settings import Settings
from xrnn.models.trainer import AnyRank, Trainer, check_same
from xrnn.optional import install_hint
from xrnn.parallel import World, end_all, let_rank_0_report, use_device_of, world
from xrnn.select import Selection

SAVE_EVERY: Final = 250  # steps
_SECONDS_BETWEEN_READS: Final = 0.25  # reading the losses waits for the device, so it is not done at each step
_MAX_UNITS: Final = 10**12  # steps or epochs

T = TypeVar("T", bound=Trainer[Any])


class Data(Protocol):
    """The data that a run learns from."""

    @property
    def source(self) -> str:
        """A description in one line."""
        ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def facts(self) -> Any:
        """The properties that the model depends on: see `Snapshot`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[T]):
    """A command with its options. A job sets the class variables, and defines `load` and `report`."""

    paths: Sequence[Path]  # the data files and folders
    given: dict[str, Any]  # the settings on the command line; the others are the checkpoint's, or the defaults
    upto: int | None = None  # the last step or epoch, counted from the start of the first run
    save_every: int = SAVE_EVERY  # the number of steps between two checkpoints
    options: RunOptions

    kind: ClassVar[Kind[Any]]
    default_out: ClassVar[Path]
    trainer: ClassVar[Any]  # the class T
    unit: ClassVar[str]  # the unit of `upto`, such as "steps"
    data_name: ClassVar[str]  # the kind of data, such as "text"
    argument: ClassVar[str]  # the command-line argument with the data, such as "PATHs"
    picture_name: ClassVar[str]  # the subject of the picture, such as "loss curve"
    use: ClassVar[str]  # the command that uses a checkpoint, with {} for the file

    def __post_init__(self) -> None:
        if self.options.minutes is not None and self.upto is not None:
            raise SettingsError(f"got both --minutes and --{self.unit}: expected one of them; leave one out")
        if self.upto is not None and not 1 <= self.upto <= _MAX_UNITS:
            raise SettingsError(f"--{self.unit} is {self.upto}: expected a whole number from 1 to {_MAX_UNITS}")
        if self.save_every < 1:
            raise SettingsError(f"--save-every is {self.save_every}: expected a whole number of at least 1")

    def load(self, settings: Any) -> Data:
        """Read the data at `paths`.   Raises DataError."""
        raise NotImplementedError

    def default_upto(self, data: Any) -> int:
        """The number of steps or epochs if neither `upto` nor `minutes` is given."""
        raise NotImplementedError

    def steps_per_unit(self, settings: Any, data: Any) -> int:
        """The number of steps in one of the units of `upto`."""
        return 1

    def report(self, trainer: T, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Test the model on held-out data and print the results → the results for `--json`, the picture to draw."""
        raise NotImplementedError


def run_job(job: Job[Any]) -> int:
    comm, selection = world(), selected(job.options.backend)
    use_device_of(comm, selection.backend)
    output = io.StringIO() if comm.rank else None  # rank 0 prints
    return run(job, selection, Terminal(output, quiet=job.options.quiet, json=job.options.json), comm)


def run(job: Job[T], selection: Selection, terminal: Terminal, comm: World | None = None) -> int:
    """Run `job` → the exit status: 0, 128 + the number of the signal that stopped it, or `status_of` a failed output.

    comm   the ranks that divide the training; None for this process alone

    Raises ModelError for a user error. Errors that can be found before training are raised before anything is printed.
    """
    settings, snapshot = _settings(job, selection.backend)
    lines, picture = selection_lines(selection), snapshot.picture if snapshot else None
    outputs = Outputs.choose(
        job.options,
        job.default_out,
        job.kind.wrote,
        picture.sha256 if picture else "",
        job.trainer.columns(settings),
        job.paths,
        lines.append,
        terminal.note,
    )
    comm = comm or World()
    data = job.load(settings)
    last = _last_step(job, settings, data, snapshot)
    for line in [*lines, *_description(job, settings, data, snapshot)]:
        terminal.note(line)
    if AnyRank(comm)(bool(terminal.lost)):
        return status_of(terminal.lost)
    backend = selection.backend
    end = last, job.options.minutes, job.save_every, snapshot and snapshot.step
    check_same(comm, backend=backend.name, options=(settings, end, outputs.checkpoint.path), data=data.fingerprint)
    trainer: T = job.trainer.resume(snapshot, data, backend) if snapshot else job.trainer(settings, data, backend)
    trainer.upto = job.upto
    trainer.divide(comm)
    status = _train(trainer, job, last, outputs, picture, terminal)
    if status:
        return status
    try:
        _report(trainer, job, outputs, picture, terminal)
    except KeyboardInterrupt:
        terminal.say(f"interrupted after training; {outputs.checkpoint.path} holds step {trainer.steps:,}")
        let_rank_0_report()
        end_all(128 + signal.SIGINT)
        return 128 + signal.SIGINT
    return 0


def _settings(job: Job[T], backend: Backend) -> tuple[Settings, Snapshot[Any] | None]:
    """The settings of the run, and the snapshot that it continues."""
    resume = job.options.resume
    if resume is None:
        return job.kind.settings(**job.given), None
    snapshot = job.kind.load(resume, backend)
    for name, value in job.given.items():
        if value != (kept := getattr(snapshot.settings, name)):
            raise SettingsError(
                f"{flag(name)} is {value}, but {resume} was trained with {kept}: leave the option out, or "
                "start a new run without --resume"
            )
    return snapshot.settings, snapshot


def _last_step(job: Job[T], settings: Any, data: Any, snapshot: Snapshot[Any] | None) -> int | None:
    """The step at which to stop, counted from the first run; None to stop after a time.   Raises SettingsError."""
    if snapshot and (data.fingerprint, data.facts) != (snapshot.fingerprint, snapshot.facts):
        raise SettingsError(
            f"{job.options.resume} was trained on other {job.data_name}: expected the same {job.argument} with the "
            "same content; name that, or start a new run without --resume"
        )
    if job.options.minutes is not None:
        return None
    first, per_unit = snapshot.step if snapshot else 0, job.steps_per_unit(settings, data)
    if job.upto is None:
        return max(first, job.default_upto(data) * per_unit)
    last = job.upto * per_unit
    if last < first:
        end = f", which end at step {last:,}," if per_unit > 1 else ","
        raise SettingsError(
            f"--{job.unit} is {job.upto:,}{end} but {job.options.resume} is at step {first:,}: expected the total "
            f"number of {job.unit}, with earlier ones; give more"
        )
    return last


def _description(job: Job[T], settings: Any, data: Any, snapshot: Snapshot[Any] | None) -> list[str]:
    weights = job.kind.plan(settings, data.facts).weights
    resumed = f"; resumed at step {snapshot.step:,}" if snapshot and snapshot.step else ""
    return [
        f"{job.data_name}: {data.source}",
        f"model: {settings.model}, {weights:,} weights; {settings.training}; seed {settings.seed}{resumed}",
    ]


def _train(
    trainer: T, job: Job[T], last: int | None, outputs: Outputs, picture: PictureRecord | None, terminal: Terminal
) -> int:
    """Train and save → 0, or the status of the signal or the lost output that stopped the run."""
    goal = Goal(last, (job.options.minutes or 0.0) * 60)
    out = outputs.checkpoint
    last_read = time.monotonic()
    saved: int | None = None

    def save() -> None:
        nonlocal saved
        snapshot = replace(trainer.snapshot(), picture=picture)  # in all ranks, because rank 0 gathers the states
        if trainer.comm.rank == 0:
            job.kind.save(out.path, snapshot, out.write)
        saved = trainer.steps

    def after_step() -> None:
        nonlocal last_read
        if trainer.steps % job.save_every == 0:
            save()
        if time.monotonic() - last_read >= _SECONDS_BETWEEN_READS:
            trainer.read_losses()
            progress.show()
            last_read = time.monotonic()

    try:
        with (
            _log(job, trainer, outputs, terminal) as log,
            noted_signals() as noted,
            TrainingProgress(terminal, goal, trainer, log) as progress,
        ):
            trainer.run(lambda: bool(goal.reached(trainer.steps) or noted or terminal.lost), after_step)
            save()
            progress.finish()
    except DivergedError as error:
        kept = f"{out.path} holds step {saved:,}" if saved is not None else "no checkpoint was written"
        raise DivergedError(f"{error.marked}; {kept}") from error
    trainer.comm.barrier()  # rank 0 has saved
    status = _agreed(trainer.comm, 128 + noted[0] if noted else status_of(terminal.lost))
    if status:
        line = f"stopped at step {trainer.steps:,} and saved {out.path}; continue with"
        line += f"\n  {_resume_command(job, out.path, trainer.comm.size)}"
        terminal.say(line)
        if terminal.lost and sys.stderr is not None:
            Terminal(sys.stderr).say(line)
    return status


def _agreed(comm: World, status: int) -> int:
    """The status of the first rank that does not have 0."""
    statuses = [part[0] for part in comm.gather(np.array([status]))]
    comm.broadcast([agreed := np.array(next(filter(None, statuses), 0))])
    return int(agreed)


def _log(
    job: Job[T], trainer: T, outputs: Outputs, terminal: Terminal
) -> contextlib.AbstractContextManager[Log | None]:
    if outputs.log is None or trainer.comm.rank:
        return contextlib.nullcontext()
    append = job.options.resume is not None and not job.options.overwrite
    append = append and os.path.exists(outputs.log.path)
    return Log(outputs.log.path, trainer.columns(trainer.settings), terminal.say, append=append)


def _report(trainer: T, job: Job[T], outputs: Outputs, drawn: PictureRecord | None, terminal: Terminal) -> None:
    """Print the results, and draw the picture.   drawn: by an earlier run.   Raises OutputError."""
    results, picture = job.report(trainer, terminal)
    checkpoint = str(outputs.checkpoint.path)
    terminal.result(f"checkpoint: {checkpoint} ({job.use.format(shlex.quote(checkpoint))})")
    snapshot = trainer.snapshot()  # in all ranks, because rank 0 gathers the states
    if trainer.comm.rank:
        return
    path = outputs.picture.path
    content = picture.content(path)
    # The checkpoint with the picture's SHA-256 is saved first. If the run is killed between the two writes, a later run
    # finds no picture that looks like a foreign file.
    record = PictureRecord.of(path, content) if content is not None else drawn
    job.kind.save(outputs.checkpoint.path, replace(snapshot, picture=record), outputs.checkpoint.write)
    if content is None:
        terminal.result(f"{job.picture_name}: not drawn, Matplotlib is not installed ({install_hint('plot')})")
    else:
        try:
            outputs.picture.write(content)
        except OSError as error:
            raise OutputError.of(error, path, "expected free space and permission") from error
        terminal.result(f"{job.picture_name}: {outputs.picture.path}")
    if job.options.json:
        files = {
            "checkpoint": checkpoint,
            "picture": str(outputs.picture.path) if content is not None else None,
        }
        terminal.row(json.dumps(results | {"steps": trainer.steps} | files))


def _resume_command(job: Job[T], out: Path, ranks: int) -> str:
    """The command that continues the saved run."""
    options = job.options
    words = ["mpiexec", "-n", str(ranks)] if ranks > 1 else []
    words += [*job.kind.writer.split(), *map(str, job.paths), "--resume", str(out)]
    words += [f"--{job.unit}", str(job.upto)] if job.upto is not None else []
    words += ["--save-every", str(job.save_every)] if job.save_every != SAVE_EVERY else []
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name not in ("out", "resume", "overwrite") and value != each.default:
            words += [
                flag(each.name),
                *([] if value is True else [f"{value:g}" if each.name == "minutes" else str(value)]),
            ]
    return shlex.join(words)
