"""The output of commands: a console that prints no control characters; and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table

from xrnn.files import printable

_STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `kill`, a closed terminal; Windows has no SIGHUP


class Terminal(Console):
    """Standard output, or `file`.   quiet: print nothing"""

    def __init__(self, file: TextIO | None = None, *, quiet: bool = False, **options: Any) -> None:
        plain: Any = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}
        super().__init__(file=file or sys.stdout, quiet=quiet, **plain, **options)

    def say(self, what: str | Table) -> None:
        """Print a text, without control characters, or a table."""
        self.print(printable(what, keep="\n\t") if isinstance(what, str) else what)

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
def noted_signals(note: Callable[[int], None]) -> Iterator[None]:
    """Within the block, `note` gets the number of the first signal to stop; a second one has its normal effect.

    An ignored signal stays ignored (SIGHUP under `nohup`).
    """
    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # A handler of None was not set from Python, and can't be restored.
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        note(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
