"""The output of commands: a stream that never raises, and a console that prints no control characters; and signals."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, TextIO, cast

from rich.console import Console
from rich.table import Table

from xrnn.files import printable

_STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `kill`, a closed terminal; Windows has no SIGHUP
CLOSED_PIPE: Final = 128 + getattr(signal, "SIGPIPE", 13)  # the exit status of a program that SIGPIPE has ended


class SafeStream:
    """A text stream that keeps its first error instead of raising it, and drops all later output.

    A run can then check, between two steps, for a closed pipe, a full device or a closed terminal.

    lost   the error, or None
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._isatty = stream.isatty()
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        if self.lost is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def isatty(self) -> bool:
        # A closed terminal would return False: the bar would stop, and no write would show that the terminal is gone.
        return self._isatty

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        # Python flushes the buffer at exit, which would fail again: send it to the null device.
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


class Terminal(Console):
    """Standard output, or `file`.

    quiet   print no notes, which report the progress of a run
    json    print no results as text, because they will be printed as JSON
    """

    def __init__(self, file: TextIO | None = None, *, quiet: bool = False, json: bool = False, **options: Any) -> None:
        stream = file or sys.stdout
        safe = stream if isinstance(stream, SafeStream) else SafeStream(stream)
        super().__init__(file=cast(TextIO, safe), highlight=False, markup=False, emoji=False, soft_wrap=True, **options)
        self._safe, self.shows_notes, self._json = safe, not quiet, json  # `Console.quiet` drops all output

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

    @property
    def lost(self) -> OSError | None:
        """The error that ended the output, or None."""
        return self._safe.lost


def to_stderr(text: str) -> None:
    """Print a line to stderr, without control characters."""
    if sys.stderr is not None:  # None: its descriptor is closed
        Terminal(sys.stderr).say(text)


def status_of(lost: OSError | None) -> int:
    """The exit status of a command whose output failed with `lost`: as after SIGPIPE, or 1; 0 if it did not fail."""
    if lost is None:
        return 0
    return CLOSED_PIPE if lost.errno == errno.EPIPE else 1


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
