"""What `xrnn train` does, from the paths it is given to the picture it leaves."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.files import reserved
from xrnn.install import install_hint
from xrnn.jobs.charlm.checkpoint import is_checkpoint, load_checkpoint, save_checkpoint
from xrnn.jobs.charlm.corpus import Corpus, load_corpus
from xrnn.jobs.charlm.evaluate import bits_per_character, zlib_bits_per_character
from xrnn.jobs.charlm.model import CharLM
from xrnn.jobs.charlm.sample import generate, readable
from xrnn.jobs.charlm.settings import Settings, option
from xrnn.jobs.charlm.trainer import Snapshot, Trainer
from xrnn.jobs.errors import DivergedError, OutputError, SettingsError
from xrnn.jobs.outputs import Destination, Output, check_outputs, next_free, same_file
from xrnn.jobs.plot import check_format, is_own_picture, plot_losses
from xrnn.jobs.progress import Goal, TrainingProgress, Units
from xrnn.jobs.signals import noted_signals
from xrnn.jobs.terminal import Terminal, status_of

DEFAULT_OUT: Final = Path("char-lm.safetensors")
SAVE_EVERY: Final = 250  # steps
_SECONDS_BETWEEN_READS: Final = 0.25  # how often the run waits for the device, to show the loss
_MOST_MINUTES: Final = 365 * 24 * 60
_SAMPLE_LENGTH: Final = 400
_SAMPLE_TEMPERATURE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for. `given` are the settings that were, the others being defaults, or the checkpoint's."""

    paths: Sequence[Path]
    given: dict[str, Any]
    steps: int | None  # in all, or None: stop by the clock
    minutes: float  # from the first step of this run
    save_every: int
    out: Path | None  # None: the resumed checkpoint, or a free name
    plot: Path | None  # None: beside the checkpoint
    resume: Path | None
    overwrite: bool = False  # a checkpoint at `out`

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"--steps is {self.steps}: expected a whole number of at least 1")
        if not 0 < self.minutes <= _MOST_MINUTES:
            raise SettingsError(
                f"--minutes is {self.minutes}: expected a positive number up to {_MOST_MINUTES}, which is a year"
            )
        if self.save_every < 1:
            raise SettingsError(f"--save-every is {self.save_every}: expected a whole number of at least 1")


@dataclass(frozen=True, slots=True)
class Results:
    """Where they go: names that were checked."""

    checkpoint: Destination
    picture: Destination


def train(job: Job, backend: Backend, terminal: Terminal) -> int:
    """Run `job` and print what it does → the exit status: 0, or that of what stopped it, 128 + the number of a signal.

    Raises JobError for what the user can mend: before the first step wherever it can be known by then.
    """
    with contextlib.ExitStack() as reservation:
        return _train(job, _results(job, terminal, reservation), backend, terminal)


def _train(job: Job, results: Results, backend: Backend, terminal: Terminal) -> int:
    settings, snapshot = _settings(job)
    corpus = load_corpus(job.paths)
    if snapshot and corpus.fingerprint != snapshot.fingerprint:
        raise SettingsError(
            f"this text is not the one that {job.resume} was trained on: expected the same PATHs with the same "
            "content; name those, or train anew without --resume"
        )
    terminal.say(f"text: {corpus.source}")
    terminal.say(f"model: {_describe(settings, snapshot)}")
    if terminal.lost:
        return status_of(terminal.lost)
    trainer = Trainer.resume(snapshot, corpus, backend) if snapshot else Trainer(settings, corpus, backend)
    status = _run(trainer, job, results.checkpoint, terminal)
    if status:
        return status
    try:
        _report(trainer, corpus, results, terminal)
    except KeyboardInterrupt:
        terminal.say(f"interrupted after training; {results.checkpoint.path} holds step {trainer.steps:,}")
        return 128 + signal.SIGINT
    return 0


def _results(job: Job, terminal: Terminal, reservation: contextlib.ExitStack) -> Results:
    """Choose the names that were not given, check all of them, and reserve the checkpoint's.   Raises OutputError."""
    out = job.out or job.resume
    chosen = out is None and not job.overwrite
    out = out or DEFAULT_OUT
    if chosen:
        out = next_free(DEFAULT_OUT, lambda path: _taken(path, job.plot, reservation))
        if out != DEFAULT_OUT:
            terminal.say(f"{DEFAULT_OUT} or its picture is taken: this run writes {out}")
    picture = job.plot or _picture_beside(out)
    if job.plot:
        check_format(job.plot)
    results = Results(Destination(out, terminal.say), Destination(picture, terminal.say))
    outputs = [
        Output("--out", out, "checkpoint", is_checkpoint),
        Output("--plot", picture, "picture that xrnn drew", is_own_picture),
    ]
    check_outputs(outputs, job.paths)
    if not chosen and not _reserve(out, reservation):
        raise OutputError(f"another run is writing {out}: expected a name of this run's own; name another with --out")
    goes_on = job.resume is not None and same_file(out, job.resume)
    if os.path.exists(out) and not (goes_on or job.overwrite):
        raise OutputError(
            f"{out} is a checkpoint already: expected --resume {out} to go on from it, --overwrite to lose it, or "
            "another --out"
        )
    return results


def _taken(checkpoint: Path, plot: Path | None, reservation: contextlib.ExitStack) -> bool:
    # Reserved first: by then, another run that had the name has either saved its checkpoint or not.
    if not _reserve(checkpoint, reservation):
        return True
    taken = os.path.lexists(checkpoint) or (plot is None and os.path.lexists(_picture_beside(checkpoint)))
    if taken:
        reservation.close()
    return taken


def _reserve(path: Path, reservation: contextlib.ExitStack) -> bool:
    """Whether no other run writes `path` before `reservation` is closed."""
    try:
        reservation.enter_context(reserved(path))
    except FileExistsError:
        return False
    except OSError:
        pass  # nothing can be written there: `check_outputs` says why
    return True


def _picture_beside(checkpoint: Path) -> Path:
    return checkpoint.parent / f"{checkpoint.stem}.png"


def _settings(job: Job) -> tuple[Settings, Snapshot | None]:
    """The settings of the run, and what it goes on from."""
    if job.resume is None:
        return Settings(**job.given), None
    snapshot = load_checkpoint(job.resume)
    for name, value in job.given.items():
        if value != (kept := getattr(snapshot.settings, name)):
            raise SettingsError(
                f"{option(name)} is {value}, but {job.resume} was trained with {kept}: leave the option out, or "
                "train anew without --resume"
            )
    if job.steps is not None and job.steps < snapshot.step:
        raise SettingsError(
            f"--steps is {job.steps:,}, but {job.resume} is at step {snapshot.step:,}: expected the steps in all, "
            "those before it included"
        )
    return snapshot.settings, snapshot


def _run(trainer: Trainer, job: Job, out: Destination, terminal: Terminal) -> int:
    """Train until the goal → 0, or until a signal or the loss of the output → its status. The end is saved."""
    goal = Goal(job.steps, job.minutes * 60)
    settings = trainer.settings
    units = Units("bits per character", "bits", "characters", settings.seq_len * settings.batch)
    last_read = time.monotonic()
    saved: int | None = None

    def save() -> None:
        nonlocal saved
        save_checkpoint(out.path, trainer.snapshot(), out.put)
        saved = trainer.steps

    try:
        with noted_signals() as noted, TrainingProgress(terminal, goal, trainer, units) as progress:
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


def _resume_command(job: Job, out: Path) -> str:
    """The command that goes on from what was saved."""
    words = ["xrnn", "train", *map(str, job.paths), "--resume", str(out)]
    words += ["--steps", str(job.steps)] if job.steps is not None else ["--minutes", f"{job.minutes:g}"]
    words += ["--save-every", str(job.save_every)] if job.save_every != SAVE_EVERY else []
    words += ["--plot", str(job.plot)] if job.plot else []
    return shlex.join(words)


def _report(trainer: Trainer, corpus: Corpus, results: Results, terminal: Terminal) -> None:
    """The held-out figures, a sample, the files."""
    terminal.say(f"held-out text: {len(corpus.held_out):,} bytes …")
    held_out = bits_per_character(trainer.model, corpus.held_out)
    zlib = zlib_bits_per_character(corpus.held_out)
    terminal.say(f"held out: {held_out:.3f} bits per character (zlib level 9: {zlib:.3f})")
    rng = np.random.default_rng(trainer.settings.seed)
    sample = generate(trainer.model, b"", _SAMPLE_LENGTH, _SAMPLE_TEMPERATURE, rng)
    terminal.say(f"a sample at temperature {_SAMPLE_TEMPERATURE}:\n{readable(sample)}\n")
    checkpoint, picture = results.checkpoint.path, results.picture
    terminal.say(f"checkpoint: {checkpoint} (xrnn generate {shlex.quote(str(checkpoint))} --prompt 'def ')")
    levels = {"held out": held_out, "held out, zlib level 9": zlib}
    if plot_losses(picture.path, trainer.losses, "bits per character", levels, picture.put):
        terminal.say(f"loss curve: {picture.path}")
    else:
        terminal.say(f"loss curve: not drawn, Matplotlib is not installed ({install_hint('plot')})")


def _describe(settings: Settings, snapshot: Snapshot | None) -> str:
    weights = sum(math.prod(shape) for shape in CharLM.shapes(settings.cell, settings.hidden, settings.layers).values())
    text = (
        f"{settings.layers} {settings.cell.upper()} layer{'s' * (settings.layers > 1)} of {settings.hidden}, "
        f"{weights:,} weights; {settings.batch} streams × {settings.seq_len} steps; lr {settings.lr:g}; "
        f"seed {settings.seed}"
    )
    return f"{text}; resumed at step {snapshot.step:,}" if snapshot and snapshot.step else text
