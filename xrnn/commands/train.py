"""`xrnn train`: train a language model, test it on held-out text, and print a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from xrnn.commands.options import SAVE_EVERY, Command, OptionsOf, RunOptions, path, with_options
from xrnn.commands.pictures import Picture, is_own_picture, loss_curve
from xrnn.commands.run import run_command
from xrnn.commands.terminal import Terminal
from xrnn.models.corpus import Corpus, Streams, load_corpus
from xrnn.models.text import (
    CHARACTER_MODEL,
    TextSettings,
    TextTrainer,
    bits_per_character,
    generate,
    readable,
    zlib_bits_per_character,
)

_SAMPLE_LENGTH: Final = 400
_SAMPLE_TEMPERATURE: Final = 0.8


class TrainCommand(Command[TextTrainer]):
    """`xrnn train` with its options: either `minutes` or `upto`."""

    kind = CHARACTER_MODEL
    default_out = Path("char-lm.safetensors")
    trainer = TextTrainer
    unit = "steps"
    data_name = "text"
    argument = "PATHs"
    picture_name = "loss curve"
    use = "xrnn generate {} --prompt 'def '"

    def load(self, settings: TextSettings) -> Corpus:
        corpus = load_corpus(self.paths, refusal)
        Streams(corpus.train, settings.seq_len, settings.batch)  # raises DataError if the text is too short
        return corpus

    def report(self, trainer: TextTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """The loss on held-out text, and a sample."""
        text = trainer.corpus.held_out
        terminal.note(f"held-out text: {len(text):,} bytes …")
        held_out, zlib = bits_per_character(trainer.model, text), zlib_bits_per_character(text)
        terminal.result(f"held out: {held_out:.3f} bits per character (zlib level 9: {zlib:.3f})")
        rng = np.random.default_rng(trainer.settings.seed)
        sample = readable(generate(trainer.model, b"", _SAMPLE_LENGTH, _SAMPLE_TEMPERATURE, rng))
        terminal.note(f"a sample at temperature {_SAMPLE_TEMPERATURE}:\n{sample}\n")
        results = {"held_out_bits_per_character": held_out, "zlib_bits_per_character": zlib}
        levels = {"held out": held_out, "held out, zlib level 9": zlib}
        return results, loss_curve(trainer.losses, "bits per character", levels)


def refusal(content: bytes) -> str:
    """Skips xrnn's own pictures: one drawn into the text folder would become training text on resume."""
    return "is a picture that xrnn drew" if is_own_picture(content) else ""


@with_options
def train(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=path, metavar="PATH", help="Text files or folders of them. Default: Python's standard library."
        ),
    ] = None,
    *,
    given: Annotated[dict[str, Any], OptionsOf(TextSettings)],
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Train up to this step, including the steps before a resume.")
    ] = None,
    save_every: Annotated[int, typer.Option(metavar="N", help="Steps between two checkpoints.")] = SAVE_EVERY,
    options: Annotated[dict[str, Any], OptionsOf(RunOptions)],
) -> int:
    """Train a character-level language model, then test it on held-out text.

    It trains for one minute unless --minutes or --steps says otherwise, and writes char-lm.safetensors and char-lm.png.
    If the run is interrupted, it saves a checkpoint first; --resume continues it, with the same results.
    """
    if "minutes" not in options and steps is None:
        options["minutes"] = 1.0
    command = TrainCommand(
        paths=paths or [], given=given, upto=steps, save_every=save_every, options=RunOptions(**options)
    )
    return run_command(command)
