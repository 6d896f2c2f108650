"""What `xrnn train` does, from the paths it is given to the picture it leaves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from xrnn.jobs import run
from xrnn.jobs.charlm.charlm_checkpoint import CHARLM_CHECKPOINTS
from xrnn.jobs.charlm.charlm_settings import CharLMSettings
from xrnn.jobs.charlm.charlm_trainer import CharLMTrainer
from xrnn.jobs.charlm.corpus import Corpus, load_corpus
from xrnn.jobs.charlm.evaluate import bits_per_character, zlib_bits_per_character
from xrnn.jobs.charlm.sample import generate, readable
from xrnn.jobs.checkpoint import Checkpoints
from xrnn.jobs.plot import plot_losses
from xrnn.jobs.results import Results
from xrnn.jobs.terminal import Terminal

DEFAULT_OUT: Final = Path("char-lm.safetensors")
_SAMPLE_LENGTH: Final = 400
_SAMPLE_TEMPERATURE: Final = 0.8


class TrainJob(run.Job[CharLMTrainer]):
    """What was asked for: either `minutes` or `upto`."""

    checkpoints: ClassVar[Checkpoints[Any]] = CHARLM_CHECKPOINTS
    default_out: ClassVar[Path] = DEFAULT_OUT
    trainer: ClassVar[Any] = CharLMTrainer
    unit: ClassVar[str] = "steps"
    data: ClassVar[str] = "text"
    argument: ClassVar[str] = "PATHs"

    def load(self, settings: CharLMSettings) -> Corpus:
        return load_corpus(self.paths)

    def report(self, trainer: CharLMTrainer, results: Results, terminal: Terminal) -> None:
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
