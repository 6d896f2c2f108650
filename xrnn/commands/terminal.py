"""The output of commands: a console that prints no control characters; and signals."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table

from xrnn.files import printable

_STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `kill`, a closed terminal; Windows has no SIGHUP


class Terminal(Console):
    """Standard output, or `file`.

    quiet   print no notes, which report the progress of a run
    json    print no results as text, because they will be printed as JSON
    """

    def __init__(self, file: TextIO | None = None, *, quiet: bool = False, json: bool = False, **options: Any) -> None:
        super().__init__(file=file or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True, **options)
        self.shows_notes, self._json = not quiet, json  # `Console.quiet` drops all output

    def say(self, text: str) -> None:
        """Print `text` without control characters."""
        self.print(printable(text, keep="\n\t"))

    def note(self, text: str) -> None:
        """Print `text` unless the terminal is quiet."""
        if self.shows_notes:
            self.say(text)

    def result(self, result: str | Table) -> None:
        """Print a result unless results are printed as JSON."""
        if self._json:
            return
        if isinstance(result, str):
            self.say(result)
        else:
            self.print(result)

    def row(self, *fields: str) -> None:
        """Print a row of a CSV table for other programs, and flush it: the fields are printable."""
        csv.writer(self.file, lineterminator="\n").writerow(map(printable, fields))
        self.file.flush()

    def json_line(self, values: Any) -> None:
        """Print a line of JSON for other programs, and flush it."""
        self.file.write(json.dumps(values) + "\n")
        self.file.flush()

    def on_broken_pipe(self) -> None:
        """Called in an exception handler: the exception leaves the Console, which would exit with status 1."""
        raise


def to_stderr(text: str) -> None:
    """Print a line to stderr, without control characters. If stderr is lost, the exit status shows an error."""
    if sys.stderr is not None:  # None: its descriptor is closed; `print` would use stdout instead
        try:
            print(printable(text, keep="\n\t"), file=sys.stderr, flush=True)
        except OSError:
            drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Send what a lost stream still holds to the null device: Python flushes it again at exit, which would fail."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextlib.contextmanager
def noted_signals() -> Iterator[list[signal.Signals]]:
    """Within the block, the first signal to stop is recorded in the list; a second one has its normal effect.

    An ignored signal stays ignored (SIGHUP under `nohup`).
    """
    noted: list[signal.Signals] = []
    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # A handler of None was not set from Python, and can't be restored.
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def note(number: int, frame: FrameType | None) -> None:
        restore()
        noted.append(signal.Signals(number))

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()
