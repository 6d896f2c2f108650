"""The effect of OMP_NUM_THREADS on a call, beside PyTorch: `python -m benchmarks.threads`.

Each setting and library runs in its own process, stopped while another is measured; a round measures all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console

from benchmarks import machine
from benchmarks.cases import Case
from benchmarks.tables import table, wide_console
from benchmarks.worker import workers

CASE: Final = Case(T=200, N=1, D=256, H=512)
UNSET: Final = "unset"
_PEERS: Final = ("xrnn", "torch")


def settings() -> list[str]:
    """OMP_NUM_THREADS unset, near the number of CPUs, and far above it."""
    cpus = os.cpu_count() or 1
    return [UNSET, *map(str, sorted({1, cpus, cpus + 1, 2 * cpus, 64}))]


def measure_threads(
    peers: Sequence[str], omp_num_threads: Sequence[str], case: Case, rounds: int, seconds: float = 40.0
) -> dict[str, Any]:
    """Times of a forward and backward pass in microseconds, by setting and peer, one a round.

    No round starts after `seconds`: on a busy machine, a library with spinning threads may need seconds for a call.
    """
    began = time.monotonic()
    times: dict[str, dict[str, list[float]]] = {}
    with contextlib.ExitStack() as stack:
        prepared = []
        for setting in omp_num_threads:
            variables = {} if setting == UNSET else {"OMP_NUM_THREADS": setting}
            started = stack.enter_context(workers(peers, 0, variables))
            peers = [worker.peer for worker in started]  # without those that are not installed
            times[setting] = {peer: [] for peer in peers}
            for worker in started:
                worker.prepare(case)
                prepared.append((worker, times[setting][worker.peer]))
        for done in range(rounds):
            if done and time.monotonic() - began > seconds:
                break
            for worker, measured in prepared:
                measured.append(worker.time("train"))
    about = machine.describe(os.cpu_count() or 1)
    return {"machine": about, "dtype": "float32", "case": case.name, "microseconds": times}


def print_threads(results: dict[str, Any], console: Console) -> None:
    times, cores = results["microseconds"], results["machine"]["cores"]
    rows = [
        [setting, *(f"{statistics.median(rounds) / 1e3:.1f}" for rounds in by_peer.values())]
        for setting, by_peer in times.items()
    ]
    title = f"forward + backward, {results['case']}, on {cores} CPUs, milliseconds"
    console.print(table(title, ["OMP_NUM_THREADS", *times[UNSET]], rows))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description="the effect of OMP_NUM_THREADS")
    parser.add_argument("--rounds", type=machine.positive, default=5, help="(default: %(default)s)")
    machine.add_out(parser)
    options = parser.parse_args(arguments)
    machine.print_version()
    results = measure_threads(_PEERS, settings(), CASE, options.rounds)
    machine.write(results, options.out / "threads.json")
    print_threads(results, wide_console())


if __name__ == "__main__":
    main()
