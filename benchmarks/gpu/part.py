"""A part of a run: a command with a time limit, in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
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
    at_most: float  # then it is stopped
    needs: tuple[str, ...] = ()  # modules without which it is left out


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
            pass  # the terminal is gone; the file remains

    def say(self, *lines: str) -> None:
        self.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        self._file.close()


def run(
    command: Sequence[str], seconds: float, environment: Mapping[str, str], folder: Path, log: Log
) -> tuple[int | None, float]:
    """Run in `folder` → the exit status, None where it had to be stopped; the seconds it took.

    It is stopped with all processes that it started, also if this process is interrupted or killed, so that none of
    them keeps the GPU busy. It stays in this POSIX session, so that ending the session ends it too.
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
