"""Read and write .keras files. A file is checked before Keras reads it: it can only hold layers that xrnn knows."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

from xrnn.backend import Backend
from xrnn.exchange.keras import RECURRENT, from_keras, import_keras, sequential, take_softmax
from xrnn.exchange.model import Model, model_of
from xrnn.files import FileError, printable, quoted, read_regular, write_own

_WANTED: Final = "a Sequential that model.save wrote, of layers that from_keras takes"
_MODULES: Final = ("keras", "keras.layers", "keras.initializers", "keras.dtype_policies")
_MOST_CONFIG: Final = 2**20  # bytes
_MOST_STEPS: Final = 2**12  # of an input of fixed size


def read_keras(path: Path, backend: str | Backend | None = None) -> Model:
    """The model in a .keras file: see `from_keras`. It may end in a softmax.

    Raises FileError; ImportError without Keras 3.
    """
    keras, name = import_keras("a .keras file"), printable(str(path))
    content = read_regular(path, f"can't read {name}", _WANTED)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if sizes.get("config.json", _MOST_CONFIG) >= _MOST_CONFIG or sum(sizes.values()) > len(content):
                raise ValueError("a config.json is missing or large, or data are compressed")
            config = json.loads(archive.read("config.json"))
        _check_modules(config)
        _check_sizes(config, len(content))
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        softmax = take_softmax(keras, model)
        return model_of(from_keras(model, backend=backend), softmax=softmax)
    except Exception as error:  # a damaged or forged file: zipfile and Keras raise errors of any kind
        got = quoted(" ".join(f"{type(error).__name__}: {error}".split()))
        raise FileError(f"{name} can't be read ({got}): expected {_WANTED}") from error


def _check_modules(config: Any) -> None:
    """Raises ValueError if Keras would import something else than its own layers.   config: JSON, at any depth"""
    if isinstance(config, dict):
        if "class_name" in config and (config.get("module") not in _MODULES or config.get("registered_name")):
            raise ValueError(f"an object of {config.get('module')}")
        for value in config.values():
            _check_modules(value)
    elif isinstance(config, list):
        for value in config:
            _check_modules(value)


def _check_sizes(config: Any, size: int) -> None:
    """Raises ValueError for another kind of model, or for more weights than a file of `size` bytes holds."""
    if config["class_name"] != "Sequential":
        raise ValueError(f"a {config['class_name']}")
    features = 1
    for layer in config["config"]["layers"]:
        kind, options = layer["class_name"], layer["config"]
        if kind == "InputLayer":
            *leading, features = options["batch_shape"]
            if any(each is not None and not 1 <= each <= _MOST_STEPS for each in leading):
                raise ValueError(f"an input of shape {options['batch_shape']}")
            features = features or 1
            weights = 0
        elif kind == "Embedding":
            features, weights = options["output_dim"], options["output_dim"] * options["input_dim"]
        elif kind in (*RECURRENT, "Bidirectional", "Dense"):
            inner = [options[key] for key in ("layer", "backward_layer") if options.get(key)] or [layer]
            units = [each["config"]["units"] for each in inner] * (3 - len(inner) if kind == "Bidirectional" else 1)
            weights = sum(each * (features + each * (kind != "Dense")) for each in units)
            features = sum(units)
        elif kind == "Dropout":
            weights = 0
        else:
            raise ValueError(f"a layer {kind}")
        if not 0 < features <= size or not 0 <= weights <= size:
            raise ValueError(f"{weights:,} weights")


def write_keras(layers: Model, path: Path, *, overwrite: bool) -> None:
    """Write the layers as a Sequential. The file has no mark: an existing one is replaced only with `overwrite`."""
    model = sequential(import_keras("a .keras file"), model_of(layers))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        content = (Path(folder) / "model.keras").read_bytes()
    write_own(path, content, "xrnn", lambda _: False, overwrite=overwrite)
