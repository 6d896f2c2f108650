"""Where commands say what they do: a stream that never raises, and a console that obeys no string it prints."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import Any, Final, TextIO, cast

from rich.console import Console

from xrnn.files import printable

CLOSED_PIPE: Final = 128 + getattr(signal, "SIGPIPE", 13)  # the exit status of what a closed pipe ends


class SafeStream:
    """A text stream in which an error is noted once, and what comes after it is dropped.

    So a closed pipe, a full device or a terminal that is gone can be looked for where it is time to stop.

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
        # One that was closed says no: a bar would no longer be drawn, and nobody find out that the terminal is gone.
        return self._isatty

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        # Python writes the rest of the buffer when it ends, and would fail again: nothing takes it without an error.
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)


class Terminal(Console):
    """Standard output, or `file`."""

    def __init__(self, file: TextIO | None = None, **options: Any) -> None:
        stream = file or sys.stdout
        safe = stream if isinstance(stream, SafeStream) else SafeStream(stream)
        super().__init__(file=cast(TextIO, safe), highlight=False, markup=False, emoji=False, soft_wrap=True, **options)
        self._safe = safe

    def say(self, text: str) -> None:
        """Print `text`, without what a terminal would obey."""
        self.print(printable(text, keep="\n\t"))

    def row(self, *fields: str) -> None:
        """Print a line for other programs, at once: the fields with tabs between them, printable."""
        self.file.write("\t".join(map(printable, fields)) + "\n")
        self.file.flush()

    @property
    def lost(self) -> OSError | None:
        """Why nothing printed arrives any more, if so."""
        return self._safe.lost


def status_of(lost: OSError | None) -> int:
    """The exit status of a command whose output was lost: as after SIGPIPE, or 1; 0 where it was not."""
    if lost is None:
        return 0
    return CLOSED_PIPE if lost.errno == errno.EPIPE else 1
