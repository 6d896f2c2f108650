"""Records signals that stop a run, so that the run stops between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `kill`, a closed terminal; Windows has no SIGHUP


@contextlib.contextmanager
def noted_signals() -> Iterator[list[signal.Signals]]:
    """Within the block, the first signal is recorded in the list; a second one has its normal effect.

    An ignored signal stays ignored (SIGHUP under `nohup`).
    """
    noted: list[signal.Signals] = []
    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # A handler of None was not set from Python, and can't be restored.
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
