"""What OMP_NUM_THREADS does to a call, beside PyTorch: `python -m benchmarks.threads`.

Each setting and library in a process of its own, which is stopped while another is measured; the rounds go through all
of them in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.cases import Case
from benchmarks.worker import Worker

CASE: Final = Case(T=200, N=1, D=256, H=512)
AS_IT_COMES: Final = "unset"
_PEERS: Final = ("xrnn", "torch")


def settings() -> list[str]:
    """OMP_NUM_THREADS as it comes, around the number of CPUs, and far beyond it."""
    cpus = os.cpu_count() or 1
    return [AS_IT_COMES, *map(str, sorted({1, cpus, cpus + 1, 2 * cpus, 64}))]


def measure_threads(
    peers: Sequence[str], omp_num_threads: Sequence[str], case: Case, rounds: int, seconds: float = 40.0
) -> dict[str, Any]:
    """Times of a forward and backward pass in microseconds, by setting and peer, one a round.

    No round begins after `seconds`: beside others a library whose threads spin may take seconds for a call.
    """
    began = time.monotonic()
    times: dict[str, dict[str, list[float]]] = {setting: {peer: [] for peer in peers} for setting in omp_num_threads}
    with contextlib.ExitStack() as stack:
        workers = []
        for setting in omp_num_threads:
            given = {} if setting == AS_IT_COMES else {"OMP_NUM_THREADS": setting}
            for peer in peers:
                worker = Worker(peer, 0, given)
                stack.callback(worker.close)
                worker.prepare(case)
                workers.append((worker, times[setting][peer]))
        for done in range(rounds):
            if done and time.monotonic() - began > seconds:
                break
            for worker, rounds_of_worker in workers:
                rounds_of_worker.append(worker.time("train"))
    return {
        "machine": machine.describe(os.cpu_count() or 1),
        "dtype": "float32",
        "case": case.name,
        "microseconds": times,
    }


def print_threads(results: dict[str, Any], console: Console) -> None:
    times = results["microseconds"]
    cores = results["machine"]["cores"]
    console.print(f"forward and backward, {results['case']}, on {cores} CPUs, milliseconds", highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("OMP_NUM_THREADS")
    for peer in times[AS_IT_COMES]:
        table.add_column(peer, justify="right")
    for setting, by_peer in times.items():
        table.add_row(setting, *(f"{statistics.median(rounds) / 1e3:.1f}" for rounds in by_peer.values()))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description="what OMP_NUM_THREADS does")
    parser.add_argument("--rounds", type=machine.positive, default=5, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    console = Console()
    peers = [peer for peer in _PEERS if peer == "xrnn" or find_spec(peer)]
    if "torch" not in peers:
        console.print("torch is not installed (extra `bench`): xrnn alone", highlight=False)
    results = measure_threads(peers, settings(), CASE, options.rounds)
    machine.write(results, options.out / "threads.json")
    print_threads(results, console)


if __name__ == "__main__":
    main()
