"""The files of xrnn: layers, checkpoints and estimators."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

import xrnn
from tests.exchange.layers import Scaled, cell_file, checkpoint_file, quantized_file, stack_file
from tests.fuzz_files.damage import change, damaged
from tests.safetensors_bytes import Forgery
from xrnn.exchange.checkpoint import describe_all, encoded
from xrnn.exchange.description import canonical, take_apart
from xrnn.files import FileError
from xrnn.series import Classifier, Forecaster, Regressor

SERIES = np.random.default_rng(0).standard_normal((24, 12))  # as many as the recurrent part of a forecaster needs


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    make   a valid file
    read   the content of a file: a text, and arrays by name
    """

    make: Callable[[random.Random], Forgery]
    read: Callable[[Path], tuple[str, dict[str, Any]]]
    Refusal: type[Exception] = FileError
    allowance: int = 200_000  # bytes: for headers of any kind, as Python objects

    def whole(self, rng: random.Random) -> bytes:
        return self.make(rng).to_bytes()

    def draw(self, rng: random.Random) -> tuple[str, bytes, bytes | None]:
        """The way in which a file is wrong, its bytes, and the file whose content a reader may find; None for any."""
        forgery = self.make(rng)
        if rng.random() < 0.4:
            change(forgery, rng)
            return "forged", forgery.to_bytes(), None
        content = forgery.to_bytes()
        return "damaged", damaged(content, rng), content


def read_layer(path: Path) -> tuple[str, dict[str, Any]]:
    layer = xrnn.load(path, cells={"Scaled": Scaled}, backend="numpy")
    description, arrays = take_apart(layer)
    with safetensors.safe_open(path, "numpy") as file:
        assert canonical(json.loads(file.metadata()["layer"])) == canonical(description)
        assert set(file.keys()) == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, file.get_tensor(name), strict=True)
    return canonical(description), arrays


def read_checkpoint(path: Path) -> tuple[str, dict[str, Any]]:
    c, arrays = xrnn.load_checkpoint(path, backend="numpy"), dict[str, Any]()
    description = describe_all(c.layers, c.optimizer, arrays)
    description["extra"] = encoded(c.extra, "extra", arrays, 0)
    with safetensors.safe_open(path, "numpy") as file:
        assert sorted(file.keys()) == sorted(arrays)
    return canonical(description), arrays


@functools.cache
def content(kind: Any, variant: bool) -> bytes:
    """The file of a small estimator, with one of two settings of its options."""
    small: dict[str, Any] = {"hidden": 3, "batch": 4}
    if kind is Forecaster:
        quantiles = "0.1" if variant else "0.2,0.8"
        fitted: Any = Forecaster(horizon=3, season=2, quantiles=quantiles).fit(SERIES)
    else:
        fitted = kind(epochs=1, one_way=variant, **small).fit(SERIES[:8], np.arange(8) % 2)
    return fitted._content()


def read_estimator(kind: Any, path: Path) -> tuple[str, dict[str, Any]]:
    loaded = kind.load(path)
    arrays = {name: each for name, each in vars(loaded).items() if isinstance(each, np.ndarray)}
    others = {name: each for name, each in vars(loaded).items() if name not in (*arrays, "_trained", "layers_")}
    params = {
        f"{n}.{k}": p for n, layer in vars(loaded).get("layers_", {}).items() for k, p in layer.named_params.items()
    }
    return f"{loaded._fitted().get_params()} {others}", params | arrays


KINDS = {
    "layers": Subject(lambda rng: rng.choice([stack_file, cell_file, quantized_file])(), read_layer),
    "checkpoints": Subject(lambda rng: checkpoint_file(), read_checkpoint),
    **{
        kind.__name__: Subject(
            lambda rng, kind=kind: Forgery.of(content(kind, rng.random() < 0.5)),  # type: ignore[misc]
            partial(read_estimator, kind),
        )
        for kind in (Classifier, Forecaster, Regressor)
    },
}
