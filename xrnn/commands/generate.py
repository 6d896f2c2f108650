"""`xrnn generate`: text drawn from a trained character model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from xrnn.commands.options import BackendOption, path, selected
from xrnn.models.errors import SettingsError
from xrnn.models.text import CHARACTER_MODEL, CharLM, readable
from xrnn.models.text import generate as draw


def generate(
    checkpoint: Annotated[
        Path, typer.Argument(parser=path, metavar="CHECKPOINT", help="A checkpoint of `xrnn train`.")
    ],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The text to continue.", show_default=False)] = "",
    length: Annotated[int, typer.Option(metavar="N", help="Number of bytes to generate.")] = 400,
    temperature: Annotated[
        float, typer.Option(metavar="X", help="Below 1: likelier text; 0: always the likeliest byte.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the random draws.")] = 0,
    backend: BackendOption = None,
) -> None:
    """Generate text with a trained model."""
    if seed < 0:
        raise SettingsError(f"--seed is {seed}: expected a whole number of at least 0")
    try:
        text = prompt.encode("utf-8", "surrogateescape")  # Python decodes arguments that are not UTF-8 to surrogates
    except UnicodeEncodeError as error:
        raise SettingsError("--prompt holds half a surrogate pair: expected text; leave it out") from error
    snapshot = CHARACTER_MODEL.load(checkpoint, selected(backend).backend)
    model = CharLM(snapshot.settings.cell, snapshot.layers)
    text += draw(model, text, length, temperature, np.random.default_rng(seed))
    print(readable(text))
