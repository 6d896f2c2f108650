"""Sharing out a run's time: parts are planned by their value, and one that doesn't end is stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

_PARENT_DEATH_SIGNAL: Final = 1  # Linux's PR_SET_PDEATHSIG
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Part:
    """A command of a run."""

    name: str
    command: tuple[str, ...]  # "{seconds}" in it becomes the time it has
    at_least: float  # seconds; with less left it isn't worth starting
    expected: float  # what a plan sets aside for it
    at_most: float  # then it is stopped


def plan(parts: Sequence[Part], seconds: float) -> tuple[list[Part], list[Part]]:
    """→ the parts that fit, the more valuable first, and those that are left out."""
    planned: list[Part] = []
    left_out: list[Part] = []
    for part in parts:
        fits = sum(other.expected for other in planned) + part.expected <= seconds
        (planned if fits else left_out).append(part)
    return planned, left_out


class Budget:
    """`seconds` from now on."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def left(self) -> float:
        return self._end - self._clock()

    def grant(self, part: Part, later: Sequence[Part]) -> float:
        """The seconds that `part` may take, 0 where too few are left for it.

        Of what it isn't expected to need, those planned after it keep what they are.
        """
        left = self.left()
        if left < part.at_least:
            return 0
        spare = left - sum(other.expected for other in later)
        return min(part.at_most, left, max(part.expected, spare))


class Log:
    """What a run prints: to the terminal, and to a file that outlasts it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        try:
            sys.stdout.write(data.decode(errors="replace"))
            sys.stdout.flush()
        except OSError:
            pass  # the terminal is gone; the file goes on

    def say(self, *lines: str) -> None:
        self.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        self._file.close()


def run(
    command: Sequence[str], seconds: float, environment: Mapping[str, str], folder: Path, log: Log
) -> tuple[int | None, float]:
    """Run in `folder` → the exit status, None where it had to be stopped; the seconds it took.

    It is stopped with all processes it started, also where this process is interrupted or killed: a GPU must not go
    on with what nobody waits for. It stays in this POSIX session, so that ending the session ends it too.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=_die_with_parent,
    )
    assert process.stdout is not None
    reader = threading.Thread(target=_copy, args=(process.stdout, log), daemon=True)
    reader.start()
    try:
        status: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        _stop_group(process)
        reader.join()
        process.stdout.close()
    return status, time.monotonic() - start


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """Also what a command that has ended left behind: it would keep the log's pipe open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _copy(stream: IO[bytes], log: Log) -> None:
    while data := os.read(stream.fileno(), 1 << 16):
        log.write(data)
