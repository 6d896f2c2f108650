"""What `xrnn train` does, from the paths it is given to the picture it leaves."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.jobs import run
from xrnn.jobs.charlm.checkpoint import CHECKPOINTS
from xrnn.jobs.charlm.corpus import load_corpus
from xrnn.jobs.charlm.evaluate import bits_per_character, zlib_bits_per_character
from xrnn.jobs.charlm.model import CharLM
from xrnn.jobs.charlm.sample import generate, readable
from xrnn.jobs.charlm.settings import Settings
from xrnn.jobs.charlm.trainer import Trainer
from xrnn.jobs.checkpoint import Checkpoints, Snapshot
from xrnn.jobs.errors import SettingsError
from xrnn.jobs.plot import plot_losses
from xrnn.jobs.results import Results
from xrnn.jobs.terminal import Terminal

DEFAULT_OUT: Final = Path("char-lm.safetensors")
_SAMPLE_LENGTH: Final = 400
_SAMPLE_TEMPERATURE: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(run.Job[Trainer]):
    """What was asked for: `minutes`, or `steps` in all, those before a resume included."""

    steps: int | None = None

    checkpoints: ClassVar[Checkpoints[Any]] = CHECKPOINTS
    default_out: ClassVar[Path] = DEFAULT_OUT

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"--steps is {self.steps}: expected a whole number of at least 1")
        run.Job.__post_init__(self)  # super() knows the class from before `slots` made another of it

    def prepare(
        self, settings: Settings, snapshot: Snapshot[Settings] | None, backend: Backend, terminal: Terminal
    ) -> Trainer | None:
        if snapshot and self.steps is not None and self.steps < snapshot.step:
            raise SettingsError(
                f"--steps is {self.steps:,}, but {self.resume} is at step {snapshot.step:,}: expected the steps in "
                "all, those before it included"
            )
        corpus = load_corpus(self.paths)
        if snapshot and corpus.fingerprint != snapshot.fingerprint:
            raise SettingsError(
                f"this text is not the one that {self.resume} was trained on: expected the same PATHs with the same "
                "content; name those, or train anew without --resume"
            )
        terminal.say(f"text: {corpus.source}")
        terminal.say(f"model: {_describe(settings, snapshot)}")
        if terminal.lost:
            return None
        return Trainer.resume(snapshot, corpus, backend) if snapshot else Trainer(settings, corpus, backend)

    def last_step(self, trainer: Trainer) -> int | None:
        return self.steps

    def limit(self) -> list[str]:
        return ["--steps", str(self.steps)] if self.steps is not None else ["--minutes", f"{self.minutes:g}"]

    def report(self, trainer: Trainer, results: Results, terminal: Terminal) -> None:
        """The held-out figures, a sample, the files."""
        text = trainer.corpus.held_out
        terminal.say(f"held-out text: {len(text):,} bytes …")
        held_out = bits_per_character(trainer.model, text)
        zlib = zlib_bits_per_character(text)
        terminal.say(f"held out: {held_out:.3f} bits per character (zlib level 9: {zlib:.3f})")
        rng = np.random.default_rng(trainer.settings.seed)
        sample = generate(trainer.model, b"", _SAMPLE_LENGTH, _SAMPLE_TEMPERATURE, rng)
        terminal.say(f"a sample at temperature {_SAMPLE_TEMPERATURE}:\n{readable(sample)}\n")
        checkpoint, picture = results.checkpoint.path, results.picture
        terminal.say(f"checkpoint: {checkpoint} (xrnn generate {shlex.quote(str(checkpoint))} --prompt 'def ')")
        levels = {"held out": held_out, "held out, zlib level 9": zlib}
        drawn = plot_losses(picture.path, trainer.losses, "bits per character", levels, picture.put)
        run.say_whether_drawn(drawn, "loss curve", picture.path, terminal)


def _describe(settings: Settings, snapshot: Snapshot[Settings] | None) -> str:
    weights = sum(math.prod(shape) for shape in CharLM.shapes(settings.cell, settings.hidden, settings.layers).values())
    text = (
        f"{settings.layers} {settings.cell.upper()} layer{'s' * (settings.layers > 1)} of {settings.hidden}, "
        f"{weights:,} weights; {settings.batch} streams × {settings.seq_len} steps; lr {settings.lr:g}; "
        f"seed {settings.seed}"
    )
    return f"{text}; resumed at step {snapshot.step:,}" if snapshot and snapshot.step else text
