"""Files of `xrnn.save`."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

import xrnn
from tests.exchange.forge import Scaled, cell_file, quantized_file, stack_file
from tests.forge import Forgery
from xrnn.exchange.description import canonical, take_apart
from xrnn.files import FileError

Refusal = FileError


def whole(rng: random.Random) -> Forgery:
    return rng.choice([stack_file, cell_file, quantized_file])()


def load(path: Path) -> tuple[str, dict[str, Any]]:
    """The description and the arrays of the loaded layer, which are those of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NaN
        layer = xrnn.load(path, cells={"Scaled": Scaled}, backend="numpy")
    description, arrays = take_apart(layer)
    with safetensors.safe_open(path, "numpy") as file:
        assert canonical(json.loads(file.metadata()["layer"])) == canonical(description)
        assert set(file.keys()) == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, file.get_tensor(name), strict=True)
    return canonical(description), arrays
