"""What can go wrong for reasons outside the code. Each message is one line: expected, got, remedy."""

from __future__ import annotations


class CharLMError(Exception):
    """The user's to mend; `xrnn` prints the message without a traceback."""


class SettingsError(CharLMError):
    """A setting makes no sense, or contradicts the checkpoint."""


class CorpusError(CharLMError):
    """The text can't be used."""


class CheckpointError(CharLMError):
    """The checkpoint can't be read, or is not one."""


class OutputError(CharLMError):
    """A result can't be written."""


class DivergedError(CharLMError):
    """The loss or a weight is no longer finite."""
