"""The `xrnn` command. If Ctrl-C interrupts its imports, it prints one line and no traceback.

It is not part of the package `xrnn`, since importing that package imports NumPy, which takes most of the time.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> int:
    """→ the exit status."""
    # OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each product, for tens of
    # milliseconds, on the CPUs that the kernels need.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not ignored
        signal.signal(signal.SIGINT, _end)
    from xrnn.commands.main import main as run

    signal.signal(signal.SIGINT, before)
    return run()


def _end(number: int, frame: FrameType | None) -> None:
    # An import could swallow an exception, and there is nothing to clean up yet.
    os.write(2, b"error: interrupted\n")
    os._exit(128 + number)
