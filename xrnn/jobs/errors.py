"""What can go wrong for reasons outside the code. Each message is one line: expected, got, remedy."""

from __future__ import annotations


class JobError(Exception):
    """The user's to mend; `xrnn` prints the message without a traceback."""


class SettingsError(JobError):
    """A setting makes no sense, or contradicts the checkpoint."""


class DataError(JobError):
    """What there is to learn from can't be used."""


class CheckpointError(JobError):
    """The checkpoint can't be read, or is not one."""


class OutputError(JobError):
    """A result can't be written."""


class DivergedError(JobError):
    """The loss or a weight is no longer finite."""
