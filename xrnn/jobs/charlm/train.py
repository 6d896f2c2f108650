"""What `xrnn train` does, from the paths it is given to the picture it leaves."""

from __future__ import annotations

import contextlib
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
from rich.console import Console

from xrnn.backend import Backend
from xrnn.install import install_hint
from xrnn.jobs.charlm.checkpoint import check_replaceable, load_checkpoint, save_checkpoint
from xrnn.jobs.charlm.corpus import Corpus, load_corpus
from xrnn.jobs.charlm.errors import DivergedError, SettingsError
from xrnn.jobs.charlm.evaluate import bits_per_character, zlib_bits_per_character
from xrnn.jobs.charlm.plot import check_picture, plot_losses
from xrnn.jobs.charlm.progress import Goal, TrainingProgress
from xrnn.jobs.charlm.sample import generate, readable
from xrnn.jobs.charlm.settings import Settings, option
from xrnn.jobs.charlm.trainer import Trainer

SAVE_EVERY: Final = 250  # steps
_SECONDS_BETWEEN_READS: Final = 0.25  # how often the run waits for the device, to show the loss
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
    out: Path
    plot: Path | None  # None: beside `out`
    resume: Path | None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"--steps is {self.steps}: expected a whole number of at least 1")
        if not 0 < self.minutes < float("inf"):
            raise SettingsError(f"--minutes is {self.minutes}: expected a positive, finite number")
        if self.save_every < 1:
            raise SettingsError(f"--save-every is {self.save_every}: expected a whole number of at least 1")

    def resume_command(self) -> str:
        """The command that goes on from what was saved."""
        words = ["xrnn", "train", *map(str, self.paths), "--resume", str(self.out)]
        words += ["--steps", str(self.steps)] if self.steps is not None else ["--minutes", f"{self.minutes:g}"]
        words += ["--save-every", str(self.save_every)] if self.save_every != SAVE_EVERY else []
        words += ["--plot", str(self.plot)] if self.plot else []
        return shlex.join(words)


def train(job: Job, backend: Backend, console: Console) -> int:
    """Run `job` and print what it does → the exit status: 0, or 128 + the signal that stopped it.

    Raises CharLMError for what the user can mend: before the first step wherever it can be known by then.
    """
    check_replaceable(job.out)
    picture = job.plot or job.out.with_suffix(".png")
    check_picture(picture)
    trainer, corpus = _prepare(job, backend)
    console.print(f"text: {corpus.source}")
    console.print(f"model: {_describe(trainer)}")
    signal_number = _run(trainer, job, console)
    if signal_number is not None:
        console.print(f"stopped at step {trainer.steps:,} and saved {job.out}; go on with\n  {job.resume_command()}")
        return 128 + signal_number
    try:
        _report(trainer, corpus, job.out, picture, console)
    except KeyboardInterrupt:
        console.print(f"interrupted after training; {job.out} holds step {trainer.steps:,}")
        return 128 + signal.SIGINT
    return 0


def _prepare(job: Job, backend: Backend) -> tuple[Trainer, Corpus]:
    """A trainer at its beginning, or as the checkpoint left it."""
    if job.resume is None:
        corpus = load_corpus(job.paths)
        return Trainer(Settings(**job.given), corpus, backend), corpus
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
    corpus = load_corpus(job.paths)
    if corpus.fingerprint != snapshot.fingerprint:
        raise SettingsError(
            f"this text is not the one that {job.resume} was trained on: expected the same PATHs with the same "
            "content; name those, or train anew without --resume"
        )
    return Trainer.resume(snapshot, corpus, backend), corpus


def _run(trainer: Trainer, job: Job, console: Console) -> signal.Signals | None:
    """Train until the goal, or until a signal, which is returned. Either way the end is saved."""
    goal = Goal(job.steps, job.minutes * 60)
    last_read = time.monotonic()
    saved: int | None = None

    def save() -> None:
        nonlocal saved
        save_checkpoint(job.out, trainer.snapshot())
        saved = trainer.steps

    try:
        with _noted_signals() as noted, TrainingProgress(console, goal, trainer) as progress:
            while not goal.reached(trainer.steps) and not noted:
                trainer.step()
                if trainer.steps % job.save_every == 0:
                    save()
                if time.monotonic() - last_read >= _SECONDS_BETWEEN_READS:
                    trainer.read_losses()
                    progress.show()
                    last_read = time.monotonic()
            save()
            progress.finish()
            return noted[0] if noted else None
    except DivergedError as error:
        kept = f"{job.out} holds step {saved:,}" if saved is not None else "no checkpoint was written"
        raise DivergedError(f"{error}; {kept}") from error


def _report(trainer: Trainer, corpus: Corpus, checkpoint: Path, picture: Path, console: Console) -> None:
    """The held-out figures, a sample, the files."""
    console.print(f"held-out text: {len(corpus.held_out):,} bytes …")
    held_out = bits_per_character(trainer.model, corpus.held_out)
    zlib = zlib_bits_per_character(corpus.held_out)
    console.print(f"held out: {held_out:.3f} bits per character (zlib level 9: {zlib:.3f})")
    rng = np.random.default_rng(trainer.settings.seed)
    sample = generate(trainer.model, b"", _SAMPLE_LENGTH, _SAMPLE_TEMPERATURE, rng)
    console.print(f"a sample at temperature {_SAMPLE_TEMPERATURE}:\n{readable(sample)}\n")
    console.print(f"checkpoint: {checkpoint} (xrnn generate {shlex.quote(str(checkpoint))} --prompt 'def ')")
    if plot_losses(picture, trainer.losses, held_out, zlib):
        console.print(f"loss curve: {picture}")
    else:
        console.print(f"loss curve: not drawn, Matplotlib is not installed ({install_hint('plot')})")


def _describe(trainer: Trainer) -> str:
    settings = trainer.settings
    weights = sum(param.size for param in trainer.model.named_params.values())
    text = (
        f"{settings.layers} tanh layer{'s' * (settings.layers > 1)} of {settings.hidden}, {weights:,} weights; "
        f"{settings.batch} streams × {settings.seq_len} steps; lr {settings.lr:g}; seed {settings.seed}"
    )
    return f"{text}; resumed at step {trainer.steps:,}" if trainer.steps else text


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[signal.Signals]]:
    """Within the block, Ctrl-C and SIGTERM are noted in the list: a step is never left half done.

    A second one acts as if none of this were here.
    """
    noted: list[signal.Signals] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(signal.Signals(number))
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()
