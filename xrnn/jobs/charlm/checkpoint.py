"""Checkpoints: a Snapshot in a safetensors file, checked against its own settings before its arrays are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np

from xrnn.files import ArrayFile, FileError, open_arrays, quoted, replace_file, write_arrays
from xrnn.jobs.charlm.settings import Settings
from xrnn.jobs.charlm.trainer import Snapshot
from xrnn.jobs.errors import CheckpointError, OutputError, SettingsError

_FORMAT: Final = "xrnn character model"
_VERSION: Final = "1"
_MOST_LOSS: Final = 1e39  # bits per character: the largest float32, in nats, comes to half of that
_ROUNDING: Final = 1e-5  # how far below 0 the loss of a perfect prediction may be
_REMEDY: Final = "name a file that `xrnn train` wrote"
_WANTED: Final = f"a checkpoint; {_REMEDY}"


def save_checkpoint(path: Path, snapshot: Snapshot, put: Callable[[Path, bytes], None] = replace_file) -> None:
    """`put` `snapshot` at `path`: whoever looks there, at any moment, finds the last whole checkpoint or this one.

    Raises OutputError where it can't be written.
    """
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "settings": json.dumps(asdict(snapshot.settings)),
        "fingerprint": snapshot.fingerprint,
        "step": str(snapshot.step),
    }
    try:
        write_arrays(path, snapshot.arrays, metadata, put)
    except OSError as error:
        raise OutputError(
            f"can't write {path} ({error.strerror}): expected room and permission there; what it held still stands"
        ) from error


def load_checkpoint(path: Path) -> Snapshot:
    """The snapshot in `path`.

    Raises CheckpointError for a file that can't be read, is truncated, altered, of another version or no checkpoint,
    and for one whose arrays are not those that its settings and its step ask for, whoever wrote it.
    """
    try:
        with open_arrays(path, _WANTED) as file:
            snapshot = _read(file)
    except FileError as error:
        raise CheckpointError(str(error)) from error
    return snapshot


def is_checkpoint(path: Path) -> bool:
    """Whether `save_checkpoint` wrote what is at `path`, by its header."""
    try:
        with open_arrays(path, _WANTED) as file:
            return file.metadata.get("format") == _FORMAT
    except FileError:
        return False


def _read(file: ArrayFile) -> Snapshot:
    name, metadata = file.name, file.metadata
    file.check_format(_FORMAT, _VERSION)
    try:
        settings = Settings.from_json(metadata.get("settings", ""))
    except SettingsError as error:
        raise CheckpointError(f"{name} has settings of no run ({quoted(str(error))}); {_REMEDY}") from error
    step = metadata.get("step", "none")
    if not re.fullmatch("0|[1-9][0-9]{0,14}", step):
        raise CheckpointError(f"{name} has step {quoted(step)}: expected a whole number of at least 0; {_REMEDY}")
    file.check(Snapshot.specs(settings, int(step)))
    arrays = file.read()
    for array_name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{name} holds {array_name} with NaN or infinity: expected finite numbers; {_REMEDY}")
        if array_name == "losses" and not ((array >= -_ROUNDING) & (array <= _MOST_LOSS)).all():
            raise CheckpointError(f"{name} holds losses of no run: expected 0 to {_MOST_LOSS:g}; {_REMEDY}")
        if array_name.startswith("adam.v.") and (array < 0).any():
            raise CheckpointError(f"{name} holds a negative {array_name}: expected a mean of squares; {_REMEDY}")
    return Snapshot(settings, metadata.get("fingerprint", ""), int(step), arrays)
