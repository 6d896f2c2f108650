"""One library in a child process: builds, checks and times the calls of one case at a time."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.cases import OPERATIONS, Case, Problem, check
from benchmarks.peers import PEERS, Built, Call, build, load
from benchmarks.processes import Child, MissingLibraryError, environment, rotated

CHECKED: Final = (*OPERATIONS, "train on data", "stream")
_LIMIT: Final = 120.0  # seconds for one answer
# Seconds to wait between the reference and the library's first call. The reference uses NumPy's matrix products, whose
# threads poll for up to 0.1 s after a product. They would slow down the library's calls, and xrnn would then use fewer
# threads for some time, also in the measurement.
_SETTLING: Final = 0.2


class Worker(Child):
    """The parent's end of a library's process. The process is stopped whenever it has no request."""

    def __init__(self, peer: str, threads: int, variables: Mapping[str, str] | None = None) -> None:
        """threads 0: as many as the library takes by itself; `variables` are added to its environment."""
        self.peer, self.threads = peer, threads
        given = environment(threads) | PEERS[peer].environment | dict(variables or {})
        super().__init__(_Library, peer, threads, environment=given, suspend=True, limit=_LIMIT)
        self.about: dict[str, str] = self.ask("about")

    def prepare(self, case: Case, drop_wrong: bool = False) -> dict[str, Any]:
        """Build and check the calls for `case`.

        → {"operations": […], "errors": {operation: …}, "wrong": […], "form": …}

        drop_wrong   leave out operations whose results are wrong, with a line for each in "wrong". Otherwise the first
                     one raises RuntimeError.
        """
        prepared: dict[str, Any] = self.ask("prepare", case, drop_wrong)
        self.prepared = prepared
        return prepared

    def time(self, operation: str) -> float:
        """The median time of one call, in microseconds."""
        return float(self.ask("time", operation))


@contextlib.contextmanager
def workers(peers: Sequence[str], threads: int, variables: Mapping[str, str] | None = None) -> Iterator[list[Worker]]:
    """A worker for each peer. If a peer's library is not installed, one line says so and the peer is left out."""
    started: list[Worker] = []
    try:
        for peer in peers:
            try:
                started.append(Worker(peer, threads, variables))
            except MissingLibraryError as error:
                print(f"left out {error}. Remedy: pip install -e '.[bench]'", flush=True)
        yield started
    finally:
        for worker in started:
            worker.close()


def timed(workers: Sequence[Worker], operations: Sequence[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Times of the prepared case in microseconds, one for each round: operation → library → times.

    In a round, all libraries that have an operation are timed one right after the other, then the next operation.
    """
    times: dict[str, dict[str, list[float]]] = {operation: {} for operation in operations}
    for order in rotated(workers, rounds):
        for operation, of_operation in times.items():
            for worker in order:
                if operation in worker.prepared["operations"]:
                    of_operation.setdefault(worker.peer, []).append(worker.time(operation))
    return times


def measure(call: Call, at_least: float = 5e-3, at_most: float = 50e-3, calls: int = 3) -> float:
    """The median time of a call in seconds.

    The call is repeated until there were `calls` calls that took `at_least` seconds together, or until the calls took
    `at_most` seconds. The first call wakes the threads and fills the caches; it is not counted.
    """
    call()
    times: list[float] = []
    total = 0.0
    while (total < at_least or len(times) < calls) and total < at_most:
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) * 1e-9)
        total += times[-1]
    return statistics.median(times)


class _Library:
    """The child's end of a worker."""

    def __init__(self, peer: str, threads: int) -> None:
        self._peer, self._threads = peer, threads
        self._built = Built({})
        self._about: dict[str, str] = load(peer).about()

    def about(self) -> dict[str, str]:
        return self._about

    def prepare(self, case: Case, drop_wrong: bool) -> dict[str, Any]:
        self._built = Built({})  # frees the arrays of the last case first
        problem = Problem(case)
        self._built = build(self._peer, problem, self._threads)
        calls = self._built.calls
        tolerance = PEERS[self._peer].tolerance
        _ = problem.reference  # computed once, here
        time.sleep(_SETTLING)
        errors, wrong = {}, {}
        for name, call in calls.items():
            try:
                if name in CHECKED:
                    errors[name] = check(name, call(), problem, tolerance)
            except AssertionError as error:
                if not drop_wrong:
                    raise
                wrong[name] = str(error)
        operations = [name for name in calls if name not in wrong]
        return {"operations": operations, "errors": errors, "wrong": list(wrong.values()), "form": self._built.form}

    def time(self, operation: str) -> float:
        return measure(self._built.calls[operation]) * 1e6
