"""The file of a fitted estimator: one of `xrnn.save_checkpoint`, whose `extra` holds

job      the kind of the estimator: "xrnn series classifier"
params   the parameters of the constructor, by name
learnt   the attributes that `fit` has learnt, by name, without arrays
arrays   the others: the losses, the scale of the channels, the linear part and the recurrent one of a forecaster

A file may come from anywhere: content that no `fit` of its kind can produce is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xrnn.exchange.checkpoint import Checkpoint, describe_all, peek, read_checkpoint
from xrnn.exchange.description import canonical
from xrnn.files import ArrayFile, FileError, open_arrays, quoted
from xrnn.select import get_backend, to_numpy
from xrnn.series.errors import CheckpointError
from xrnn.typing import Shape


def content_of(path: Path, job: str, wanted: str) -> tuple[str, Checkpoint]:
    """The name of the file for errors, and its content.

    Raises CheckpointError if it can't be read, is damaged, or of another kind;   wanted: the expected content, and the
    remedy
    """
    try:
        with open_arrays(path, wanted) as file:
            if (kind := _kind_in(file)) != job:
                got = f"format {quoted(kind)}" if kind else "no format of xrnn"
                raise FileError(f"{file.name} has {got}: expected {wanted}")
            return file.name, read_checkpoint(file, get_backend())
    except FileError as error:
        raise CheckpointError(str(error)) from error


def check_layers(layers: Mapping[str, Any], example: Mapping[str, Any], shapes: Sequence[Shape]) -> None:
    """Raises ValueError unless layers differ from the example only in their sizes, and have float32 of these shapes."""
    saved: dict[str, Any] = {}
    if canonical(describe_all(layers, None, saved)) != canonical(describe_all(example, None, {})):
        raise ValueError("holds other layers than its parameters describe: expected those")
    for (name, each), shape in zip(saved.items(), shapes, strict=True):
        if (each.shape, each.dtype.name) != (shape, "float32"):
            raise ValueError(f"holds {name} as {each.dtype} {each.shape}: expected float32 {shape} by its parameters")
    _check_finite({name: to_numpy(each) for name, each in saved.items()})


def check_arrays(arrays: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Raises ValueError unless the arrays have these names, and are float64 of these shapes; -1 is any size."""
    if odd := sorted(shapes.keys() ^ arrays.keys()):
        has = "lacks" if odd[0] in shapes else "has"
        raise ValueError(f"{has} an array {quoted(odd[0])}: expected {', '.join(shapes)}")
    for name, shape in shapes.items():
        each = arrays[name]
        fits = isinstance(each, np.ndarray) and each.dtype == "float64" and each.ndim == len(shape)
        if not fits or any(expected not in (-1, size) for expected, size in zip(shape, each.shape, strict=True)):
            got = f"{getattr(each, 'dtype', '')} {np.shape(each)}"
            raise ValueError(f"holds {name} as {got}: expected float64 {shape}, as its parameters describe")
    _check_finite(arrays)


def _check_finite(arrays: Mapping[str, Any]) -> None:
    for name, each in arrays.items():
        if not np.isfinite(each).all():
            raise ValueError(f"holds {name} with NaN or infinity: expected finite numbers")


def kind_in(path: Path, wanted: str) -> str:
    """The kind of the estimator in the checkpoint at `path`, according to its header; for another file, its format.

    Raises CheckpointError if the file can't be read; `wanted` is the expected content and the remedy.
    """
    try:
        with open_arrays(path, wanted) as file:
            return _kind_in(file)
    except FileError as error:
        raise CheckpointError(str(error)) from error


def _kind_in(file: ArrayFile) -> str:
    return str(peek(file, "job") or file.metadata.get("format", ""))
