"""The output of commands, without control characters; and what is done if it is lost."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len, set_cell_size

from xrnn.files import printable


def say(text: str) -> None:
    """Print to stdout."""
    print(printable(text, keep="\n\t"), flush=True)


def to_stderr(text: str) -> None:
    """Print a line to stderr. If stderr is lost, the exit status shows an error."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Send what a lost stream still holds to the null device: Python flushes it again at exit, which would fail."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def table(*rows: Iterable[str]) -> str:
    """The lines of a table: a column of text, then columns of numbers."""
    columns: list[Sequence[str]] = [*zip(*rows, strict=True)]
    widths = [max(map(cell_len, column)) for column in columns]
    names = [set_cell_size(name, widths[0]) for name in columns[0]]
    numbers = [[cell.rjust(width) for cell in column] for column, width in zip(columns[1:], widths[1:], strict=True)]
    return "\n".join(map("  ".join, zip(names, *numbers, strict=True)))
