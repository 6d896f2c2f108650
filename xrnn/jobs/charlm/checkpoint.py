"""Checkpoints: a Snapshot in a safetensors file, written aside, renamed, and digested."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import safetensors
import safetensors.numpy

from xrnn.jobs.charlm.errors import CheckpointError, OutputError
from xrnn.jobs.charlm.files import check_writable, replace_file
from xrnn.jobs.charlm.settings import Settings
from xrnn.jobs.charlm.trainer import Snapshot
from xrnn.typing import HostArray

_FORMAT: Final = "xrnn character model"
_VERSION: Final = "1"
_REMEDY: Final = "name a file that `xrnn train` wrote"


def save_checkpoint(path: Path, snapshot: Snapshot) -> None:
    """Write `snapshot` to `path`: whoever looks there, at any moment, finds the last whole checkpoint or this one.

    Raises OutputError where it can't be written.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in snapshot.arrays.items()}
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "settings": json.dumps(asdict(snapshot.settings)),
        "fingerprint": snapshot.fingerprint,
        "step": str(snapshot.step),
    }
    metadata["digest"] = _digest(arrays, metadata)
    try:
        replace_file(path, safetensors.numpy.save(arrays, metadata))
    except OSError as error:
        raise OutputError(
            f"can't write {path} ({error.strerror}): expected room and permission there; what it held still stands"
        ) from error


def load_checkpoint(path: Path) -> Snapshot:
    """The snapshot in `path`.

    Raises CheckpointError for a file that can't be read, is truncated, altered, of another version or no checkpoint.
    """
    metadata, arrays = _read(path)
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path} holds arrays, but no character model: expected a checkpoint; {_REMEDY}")
    if (version := metadata.get("version")) != _VERSION:
        raise CheckpointError(
            f"{path} has version {version}: expected {_VERSION}; use the xrnn that wrote it, or train again"
        )
    digest = metadata.pop("digest", "none")
    if digest != _digest(arrays, metadata):
        raise CheckpointError(
            f"{path} was changed after it was written: expected content that gives its digest; use another copy"
        )
    settings = Settings(**json.loads(metadata["settings"]))
    return Snapshot(settings, metadata["fingerprint"], int(metadata["step"]), arrays)


def check_replaceable(path: Path) -> None:
    """Find out before training whether a checkpoint can be written to `path`, in the place of another at most.

    Raises OutputError.
    """
    check_writable(path)
    try:
        replaceable = not path.exists() or _read(path)[0].get("format") == _FORMAT
    except CheckpointError:
        replaceable = False
    if not replaceable:
        raise OutputError(
            f"{path} exists and is no checkpoint: expected a new name, or a checkpoint to replace; name another"
        )


def _read(path: Path) -> tuple[dict[str, str], dict[str, HostArray]]:
    """The metadata and the arrays of a safetensors file. Raises CheckpointError."""
    try:
        with path.open("rb") as raw:
            start = raw.read(9)
    except OSError as error:
        raise CheckpointError(f"can't read {path} ({error.strerror}): expected a checkpoint; {_REMEDY}") from error
    if start[8:] != b"{":  # the header's length, then the header, which is JSON
        raise CheckpointError(f"{path} is not a safetensors file: expected a checkpoint; {_REMEDY}")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is truncated or damaged ({error}): expected a whole checkpoint; use another copy"
        ) from error


def _digest(arrays: dict[str, HostArray], metadata: dict[str, str]) -> str:
    sha = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
