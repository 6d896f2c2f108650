"""Files of `xrnn.save_checkpoint`."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import safetensors

import xrnn
from tests.forge import Forgery
from tests.fuzz_files.damage import change_json, change_metadata, change_tensor
from tests.interop.forge import checkpoint_file
from xrnn.files import FileError
from xrnn.interop.checkpoint import describe_all, encoded
from xrnn.interop.description import canonical

Refusal = FileError


def whole(rng: random.Random) -> Forgery:
    return checkpoint_file()


def change(forgery: Forgery, rng: random.Random) -> None:
    """Change the description, the metadata or a tensor."""

    def other_description(forgery: Forgery, rng: random.Random) -> None:
        change_json(forgery, rng, "checkpoint")

    ways = [other_description, other_description, change_metadata, change_tensor]
    for way in rng.choices(ways, k=rng.choice([1, 1, 2])):
        way(forgery, rng)


def load(path: Path) -> tuple[str, dict[str, Any]]:
    """The description and the arrays of the loaded checkpoint, which are those of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NaN
        c = xrnn.load_checkpoint(path, backend="numpy")
    arrays: dict[str, Any] = {}
    description = describe_all(c.layers, c.optimizer, arrays)
    description["extra"] = encoded(c.extra, "extra", arrays, 0)
    with safetensors.safe_open(path, "numpy") as file:
        assert sorted(file.keys()) == sorted(arrays)
    return canonical(description), arrays
