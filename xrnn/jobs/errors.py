"""User errors. Each message is one line: expected, got, remedy."""

from __future__ import annotations


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


class DivergedError(JobError):
    """A loss or a weight is not finite."""
