"""The file of a fitted estimator: one of `xrnn.save_checkpoint`, whose `extra` holds

job      the kind of the estimator: "xrnn series classifier"
params   the parameters of the constructor, by name
learnt   the attributes that `fit` has learnt, by name, without the layers

A file may come from anywhere. It runs no code. `Estimator.load` checks the parameters, and computes a prediction.
"""

from __future__ import annotations

from pathlib import Path

from xrnn.exchange.checkpoint import Checkpoint, peek, read_checkpoint
from xrnn.files import ArrayFile, FileError, open_arrays, quoted
from xrnn.select import get_backend
from xrnn.series.errors import CheckpointError


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
