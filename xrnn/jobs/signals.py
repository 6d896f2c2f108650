"""Signals that ask a run to stop: noted, so that it stops between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `kill`, a terminal that was closed; Windows lacks the last


@contextlib.contextmanager
def noted_signals() -> Iterator[list[signal.Signals]]:
    """Within the block, the signals that ask to stop are noted in the list: a step is never left half done.

    Those that are ignored stay so (SIGHUP under `nohup`). A second one acts as if none of this were here.
    """
    noted: list[signal.Signals] = []
    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # None: a handler that was not set from Python, and could not be put back.
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(signal.Signals(number))
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()
