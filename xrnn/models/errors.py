"""User errors. Each message is one line: expected, got, remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from xrnn.files import printable


class JobError(Exception):
    """An error that the user can correct; `xrnn` prints the message without a traceback."""


class SettingsError(JobError):
    """An option is invalid, or contradicts the checkpoint."""


class DataError(JobError):
    """The data can't be used."""


class CheckpointError(JobError):
    """The file can't be read, or is no checkpoint."""


class OutputError(JobError):
    """A file can't be written."""

    @classmethod
    def of(cls, error: OSError, path: Path, expected: str) -> Self:
        """The error of a write to `path`. The messages of `xrnn.files` are complete; others get `expected`."""
        return cls(
            f"can't write {printable(str(path))} ({error.strerror}): {expected}" if error.strerror else str(error)
        )


class DivergedError(JobError):
    """A loss or a weight is not finite."""
