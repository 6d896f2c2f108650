"""One library in a process of its own: `python -m benchmarks.worker PEER THREADS`, driven through `Worker`.

Requests and answers are one line of JSON each, on standard input and output.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from benchmarks.cases import OPERATIONS, Case, Problem, check
from benchmarks.peers import PEERS, Built, Call, build, load

CHECKED: Final = (*OPERATIONS, "train on data", "stream")
_LIMIT: Final = 120.0  # seconds for one answer: a library that hangs must not take the others' results with it
# How long the threads of NumPy's products, which made the reference, may still look out for work, in seconds. They are
# in the way of whoever is measured first: xrnn took one thread then, and twice as long.
_SETTLING: Final = 0.05


class Worker:
    """The parent's end. The process is stopped (SIGSTOP) whenever it isn't asked something: its idle threads,
    some of which spin for a while, then take nothing from the one that is measured.
    """

    def __init__(self, peer: str, threads: int, given: Mapping[str, str] | None = None) -> None:
        """Threads 0: as many as the library takes by itself, in the environment with the variables `given`."""
        self.peer = peer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", peer, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads) | PEERS[peer].environment | dict(given or {}),
        )
        self.about: dict[str, str] = self._answer()

    @property
    def answers(self) -> bool:
        return self._process.poll() is None

    def prepare(self, case: Case) -> dict[str, Any]:
        """Build the calls for `case` and check them → {"operations": [...], "errors": {operation: …}, "form": …}."""
        answer: dict[str, Any] = self._ask(asdict(case))
        return answer

    def time(self, operation: str) -> float:
        """The median time of one call, in microseconds."""
        return float(self._ask(operation))

    def close(self) -> None:
        self._process.kill()  # works on a stopped process too
        self._process.communicate()

    def _ask(self, request: Any) -> Any:
        assert self._process.stdin
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], _LIMIT)[0]:
            self._process.kill()
            self._process.wait()
            raise TimeoutError(f"{self.peer} gave no answer for {_LIMIT} seconds")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.peer} ended (exit {self._process.wait()}): see its words above")
        self._process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{self.peer}: {answer['error']}")
        return answer["answer"]


def environment(threads: int | None) -> dict[str, str]:
    """The same number of threads for everyone, whatever each calls it (None: as each takes by itself), and no GPU."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")  # NPROC is XLA's
    fixed = {"XRNN_BACKEND": "numpy", "JAX_PLATFORMS": "cpu"}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    return inherited | (dict.fromkeys(names, str(threads)) if threads else {}) | fixed


def measure(call: Call, at_least: float = 5e-3, at_most: float = 50e-3, calls: int = 3) -> float:
    """The median time of a call, in seconds, over `at_least` seconds and `calls` calls, less if `at_most` is over.

    After one call that isn't counted, which wakes the threads and refills the caches.
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


def _prepare(peer: str, case: Case, threads: int) -> tuple[Built, dict[str, Any]]:
    problem = Problem(case)
    built = build(peer, problem, threads)
    errors = {name: check(name, call(), problem) for name, call in built.calls.items() if name in CHECKED}
    time.sleep(_SETTLING)
    return built, {"operations": list(built.calls), "errors": errors, "form": built.form}


def main() -> None:
    peer, threads = sys.argv[1], int(sys.argv[2])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no stopped process outlives its parent
    # What a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**line: Any) -> None:
        print(json.dumps(line), file=answers, flush=True)

    answer(answer=load(peer).about())
    built = Built({})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if isinstance(request, dict):
                built = Built({})  # let go of the last case's arrays first
                built, prepared = _prepare(peer, Case(**request), threads)
                answer(answer=prepared)
            else:
                answer(answer=measure(built.calls[request]) * 1e6)
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
