"""How long a call takes on the device, and how long the host needs to hand it over."""

from __future__ import annotations

import statistics
import time
from typing import Any, Final

from benchmarks.peers import Call

_CALLS: Final = 5  # after one that isn't counted


def microseconds(xp: Any, call: Call) -> tuple[float, float]:
    """The medians between two events around a call, and on the host until it returns; each waits for the device first.

    Where the host is slower than the device the events measure the host: see steps.py for the device's own time.
    """
    start, end = xp.cuda.Event(), xp.cuda.Event()
    device, host = [], []
    for _ in range(1 + _CALLS):
        end.record()
        end.synchronize()
        start.record()
        before = time.perf_counter()
        call()
        host.append((time.perf_counter() - before) * 1e6)
        end.record()
        end.synchronize()
        device.append(xp.cuda.get_elapsed_time(start, end) * 1e3)
    return statistics.median(device[1:]), statistics.median(host[1:])
