"""Sharing out a run's time: a part that would not end in time is dropped, one that doesn't end is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A command of a run: with less than `at_least` seconds it is dropped, after `at_most` it is stopped."""

    name: str
    command: tuple[str, ...]  # "{seconds}" in it becomes the time it has
    at_least: float
    at_most: float
    must_pass: bool = True  # a failure of it is a failure of the run


class Budget:
    """`seconds` from now on."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def grant(self, part: Part, later: Sequence[Part]) -> float:
        """The seconds that `part` may take, 0 where it is to be dropped.

        Of what it doesn't need, those after it keep what they need.
        """
        left = self._end - self._clock()
        if left < part.at_least:
            return 0
        return min(part.at_most, max(part.at_least, left - sum(other.at_least for other in later)))


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str]) -> tuple[int | None, float]:
    """→ the exit status, None where it had to be stopped, with all processes it started; the seconds it took."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        status: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        if process.poll() is None:  # also when this process is interrupted
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, time.monotonic() - start
