"""xrnn beside its peers: `python -m benchmarks.compare [--quick]`, some fifteen minutes, seconds with --quick.

Each library runs in a process of its own, kept for the whole run. A round measures every library once, one after
the other, the first of them a different one each time; a cell's figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.cases import ALL, OPERATIONS, QUICK, SQUARE_FLOPS, STATED, Case
from benchmarks.console import wide_console
from benchmarks.peers import COMPARED, PEERS
from benchmarks.ratios import gflops
from benchmarks.report import print_comparison
from benchmarks.worker import Worker


def compare(
    cases: Sequence[Case], peers: Sequence[str], rounds: int, threads: int, out: Path, console: Console
) -> dict[str, Any]:
    """Everything that was measured, times in microseconds, one a round; also in `out`/compare.json, case by case."""
    machine.pin(threads)
    results: dict[str, Any] = {"machine": machine.describe(threads), "dtype": "float32", "rounds": rounds}
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        workers = [Worker(peer, threads) for peer in peers]
        for worker in workers:
            stack.callback(worker.close)
        results["versions"] = {worker.peer: worker.about for worker in workers}
        results["cells"] = []
        for number, case in enumerate(cases, 1):
            try:
                results["cells"] += _cell(case, workers, rounds)
            except TimeoutError as error:
                results.setdefault("left_out", []).append(f"{case.name}: {error}")
                console.print(f"left out {results['left_out'][-1]}", highlight=False)
                workers = [worker if worker.answers else _again(worker, threads, stack) for worker in workers]
            results["seconds"] = round(time.perf_counter() - start)
            machine.write(results, out / "compare.json")
            console.print(f"{number:3}/{len(cases)}  {case.name:24} {results['seconds']:5} s", highlight=False)
    return results


def _again(worker: Worker, threads: int, stack: contextlib.ExitStack) -> Worker:
    fresh = Worker(worker.peer, threads)
    stack.callback(fresh.close)
    return fresh


def _cell(case: Case, workers: list[Worker], rounds: int) -> list[dict[str, Any]]:
    prepared = {worker.peer: worker.prepare(case) for worker in workers}
    operations = ("product", *OPERATIONS, *(f"base {operation}" for operation in OPERATIONS))
    times: dict[str, dict[str, list[float]]] = {operation: {} for operation in operations}
    for turn in range(rounds):
        first = turn % len(workers)
        for operation in operations:
            for worker in workers[first:] + workers[:first]:
                if operation in prepared[worker.peer]["operations"]:
                    times[operation].setdefault(worker.peer, []).append(worker.time(operation))
    # The machine's own rate is that of the library whose product is fastest, round by round.
    ceiling = [gflops(SQUARE_FLOPS, min(turn)) for turn in zip(*times["product"].values(), strict=True)]
    return [
        {
            "case": case.name,
            "cell": case.cell,
            "ragged": case.ragged,
            "T": case.T,
            "N": case.N,
            "D": case.D,
            "H": case.H,
            "operation": operation,
            "flops": case.flops(operation),
            "microseconds": times[operation],
            "base_microseconds": times[f"base {operation}"],
            "errors": {peer: prepared[peer]["errors"][operation] for peer in times[operation]},
            "forms": {peer: prepared[peer]["form"] for peer in times[operation] if prepared[peer]["form"]},
            "ceiling_gflops": ceiling,
        }
        for operation in OPERATIONS
        if times[operation]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="xrnn beside its peers")
    parser.add_argument("--quick", action="store_true", help="a few small cases, as a smoke test")
    parser.add_argument("--cases", help="only the cases whose name contains this, such as N64-D256 or lstm")
    parser.add_argument("--no-sweeps", action="store_true", help="the tables' cases, not the pictures'")
    parser.add_argument(
        "--peers",
        type=machine.some_of(PEERS),
        default=",".join(COMPARED),
        help="comma-separated (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=machine.positive, default=7, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    chosen = QUICK if options.quick else STATED if options.no_sweeps else ALL
    cases = [case for case in chosen if (options.cases or "") in case.name]
    if not cases:
        parser.error(f"--cases is {options.cases}: expected a part of a name such as {ALL[0].name}")
    console = wide_console()
    results = compare(cases, options.peers, options.rounds, options.threads, options.out, console)
    print_comparison(results, console)


if __name__ == "__main__":
    main()
