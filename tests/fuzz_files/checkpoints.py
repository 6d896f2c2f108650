"""Files of `xrnn.save_checkpoint`."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import safetensors

import xrnn
from tests.exchange.forge import checkpoint_file
from tests.forge import Forgery
from xrnn.exchange.checkpoint import describe_all, encoded
from xrnn.exchange.description import canonical
from xrnn.files import FileError

Refusal = FileError


def whole(rng: random.Random) -> Forgery:
    return checkpoint_file()


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
