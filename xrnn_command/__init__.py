"""The `xrnn` command: Ctrl-C during its imports ends in one line as well.

It lies outside the package, since importing anything of that imports NumPy first, which takes most of the time.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> int:
    """→ the exit status."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not ignored
        signal.signal(signal.SIGINT, _end)
    from xrnn.cli import main as run

    signal.signal(signal.SIGINT, before)
    return run()


def _end(number: int, frame: FrameType | None) -> None:
    # An exception could be lost within an import, and nothing has begun that must be ended well.
    os.write(2, b"error: interrupted\n")
    os._exit(128 + number)
