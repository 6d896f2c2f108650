"""`xrnn train`: train a language model, test it on held-out text, and print a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.commands.picture import Picture
from xrnn.commands.plot import loss_curve
from xrnn.commands.run import Job
from xrnn.commands.terminal import Terminal
from xrnn.models.text.checkpoint import CHARLM_CHECKPOINTS
from xrnn.models.text.corpus import Corpus, Streams, load_corpus
from xrnn.models.text.evaluate import bits_per_character, zlib_bits_per_character
from xrnn.models.text.sample import generate, readable
from xrnn.models.text.settings import CharLMSettings
from xrnn.models.text.trainer import CharLMTrainer

_SAMPLE_LENGTH: Final = 400
_SAMPLE_TEMPERATURE: Final = 0.8


class TrainJob(Job[CharLMTrainer]):
    """`xrnn train` with its options: either `minutes` or `upto`."""

    checkpoints = CHARLM_CHECKPOINTS
    default_out = Path("char-lm.safetensors")
    trainer = CharLMTrainer
    unit = "steps"
    data = "text"
    argument = "PATHs"
    picture = "loss curve"
    use = "xrnn generate {} --prompt 'def '"

    def load(self, settings: CharLMSettings) -> Corpus:
        corpus = load_corpus(self.paths)
        Streams(corpus.train, settings.seq_len, settings.batch)  # raises DataError if the text is too short
        return corpus

    def report(self, trainer: CharLMTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """The loss on held-out text, and a sample."""
        text = trainer.corpus.held_out
        terminal.note(f"held-out text: {len(text):,} bytes …")
        held_out, zlib = bits_per_character(trainer.model, text, trainer.comm), zlib_bits_per_character(text)
        terminal.result(f"held out: {held_out:.3f} bits per character (zlib level 9: {zlib:.3f})")
        rng = np.random.default_rng(trainer.settings.seed)
        sample = readable(generate(trainer.model, b"", _SAMPLE_LENGTH, _SAMPLE_TEMPERATURE, rng))
        terminal.note(f"a sample at temperature {_SAMPLE_TEMPERATURE}:\n{sample}\n")
        results = {"held_out_bits_per_character": held_out, "zlib_bits_per_character": zlib}
        levels = {"held out": held_out, "held out, zlib level 9": zlib}
        return results, loss_curve(trainer.losses, "bits per character", levels)
