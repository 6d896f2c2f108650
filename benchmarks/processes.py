"""Child processes of the benchmarks: each measured library runs in its own process."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

_SPAWN: Final = multiprocessing.get_context("spawn")
# Computes and sleeps in turns, on one CPU if it is given, and ends with its parent.
_BUSY: Final = """
import os, sys, time
computing, asleep, cpu = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
if cpu >= 0:
    os.sched_setaffinity(0, [cpu])
parent = os.getppid()
while os.getppid() == parent:
    end = time.perf_counter() + computing
    while time.perf_counter() < end:
        pass
    if asleep:
        time.sleep(asleep)
"""


class MissingLibraryError(Exception):
    """The library to measure is not installed."""


class Child:
    """A process that holds the object `make(*arguments)` and calls its methods.

    environment  the child's environment variables (default: those of this process)
    suspend      True: stop the process (SIGSTOP) whenever it has no request. Some libraries' idle threads spin for a
                 while; stopped, they take no CPU time from the process that is measured.
    limit        timeout for an answer, in seconds (default: none), so that a hanging library does not block the others
    """

    def __init__(
        self,
        make: Callable[..., Any],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        suspend: bool = False,
        limit: float | None = None,
    ) -> None:
        self._suspend, self.limit = suspend, limit
        self._name = str(arguments[0]) if arguments else "child"
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        with _variables(environment or os.environ):
            self._process.start()
        atexit.register(self._process.kill)  # at exit multiprocessing sends SIGTERM, which a stopped process ignores
        theirs.close()  # the child now holds the only copy: if it dies, reading fails
        try:
            self.receive()
        except Exception:
            self.close()
            raise

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, method: str, *arguments: Any) -> Any:
        self.send(method, *arguments)
        return self.receive()

    def send(self, method: str, *arguments: Any) -> None:
        if self._suspend:
            self._signal(signal.SIGCONT)
        self._pipe.send((method, arguments))

    def receive(self) -> Any:
        """The result of the method that was sent. Its exceptions are raised as RuntimeError."""
        if not self._pipe.poll(self.limit):
            self.close()
            raise TimeoutError(f"{self._name} did not answer within {self.limit} seconds")
        try:
            outcome, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(
                f"the process of {self._name} ended with status {self._process.exitcode}: see its output above"
            ) from None
        if self._suspend:
            self._signal(signal.SIGSTOP)
        if outcome == "result":
            return value
        raise (MissingLibraryError if outcome == "missing" else RuntimeError)(f"{self._name}: {value}")

    def _signal(self, number: int) -> None:
        if self._process.pid and self._process.is_alive():
            os.kill(self._process.pid, number)

    def close(self) -> None:
        self._process.kill()  # also ends a stopped process
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(pipe: Connection, make: Callable[..., Any], arguments: Sequence[Any]) -> None:
    if sys.platform == "linux":
        # PR_SET_PDEATHSIG: the kernel kills this process when its parent ends, even if it is stopped.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    try:
        served = make(*arguments)
        pipe.send(("result", None))
    except ImportError as error:
        pipe.send(("missing", str(error)))
        return
    except Exception as error:
        pipe.send(("error", f"{type(error).__name__}: {error}"))
        return
    # EOFError: the parent ended. KeyboardInterrupt: Ctrl-C reaches the parent too, which reports it.
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            method, given = pipe.recv()
            try:
                pipe.send(("result", getattr(served, method)(*given)))
            except Exception as error:
                pipe.send(("error", f"{type(error).__name__}: {error}"))


def environment(threads: int | None) -> dict[str, str]:
    """Environment variables that give every library the same number of threads, and no GPU.

    threads  None: each library chooses
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")  # NPROC is XLA's
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    fixed = {"XRNN_BACKEND": "numpy", "JAX_PLATFORMS": "cpu"}
    return inherited | (dict.fromkeys(names, str(threads)) if threads else {}) | fixed


def rotated(items: Sequence[T], rounds: int) -> Iterator[tuple[T, ...]]:
    """The items of each round in order; the first item changes from round to round."""
    for number in range(rounds):
        first = number % len(items)
        yield (*items[first:], *items[:first])


@contextlib.contextmanager
def busy(count: int, computing: float = 1.0, asleep: float = 0.0, cpu: int | None = None) -> Iterator[None]:
    """`count` other processes that compute.

    computing, asleep  seconds: a process computes for a while, then sleeps for a while
    cpu                the only CPU that they may use (default: any)
    """
    command = [sys.executable, "-c", _BUSY, str(computing), str(asleep), str(-1 if cpu is None else cpu)]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
