"""The errors of users, in one line each: what happened, and what to do.

The parameters that a message names are marked: a message names the parameters of a function or of an estimator, "lr is
0", and the command line shows their flags instead, "--lr is 0".
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from xrnn.files import printable

_MARK: Final = "\x1f"  # around the name of a parameter; not in names of files and other texts, which are printable


def param(name: str) -> str:
    """The name of a parameter, for the message of a ModelError."""
    return f"{_MARK}{name}{_MARK}"


class ModelError(Exception):
    """An error that the user can correct."""

    def shown(self, show: Callable[[str], str] = str) -> str:
        """The message with `show(name)` for each parameter."""
        return re.sub(f"{_MARK}(\\w+){_MARK}", lambda found: show(found[1]), super().__str__())

    __str__ = shown


class SettingsError(ModelError, ValueError):
    """A parameter is invalid, or does not fit the others."""


class DataError(ModelError, ValueError):
    """The data can't be used.

    no_value   whether a series or a file has no values, or none in a column
    """

    def __init__(self, message: str, *, no_value: bool = False) -> None:
        super().__init__(message)
        self.no_value = no_value


class Fault(NamedTuple):
    """What is wrong with a line of a file, with the names of the file and the place, and what to do."""

    text: str
    remedy: str

    def error(self) -> DataError:
        return DataError(f"{self.text}; {self.remedy}")


class DivergedError(ModelError, ValueError):
    """A loss or a weight is not finite."""


@contextlib.contextmanager
def file_errors(kind: type[ModelError], task: str, path: Path, expected: str) -> Iterator[None]:
    """Turn an OSError into an error of this kind: "can't read PATH (the reason): expected …"."""
    try:
        yield
    except OSError as error:
        # The messages of `xrnn.files` are complete.
        found = f"can't {task} {printable(str(path))} ({error.strerror}): {expected}" if error.strerror else str(error)
        raise kind(found) from error
