"""What one step costs at N = 1, H = 64, where it is all latency, and what makes it up: `python -m benchmarks.step`."""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.cases import Case
from benchmarks.peers import PEERS
from benchmarks.ratios import ratio
from benchmarks.worker import Worker

STEP: Final = Case(T=1, N=1, D=64, H=64)
_LONG: Final = Case(T=1001, N=1, D=64, H=64)
_OURS: Final = "xrnn"


def measure_step(peers: Sequence[str], rounds: int, threads: int) -> dict[str, Any]:
    """Times in microseconds, one a round.

    parts   "total" of xrnn's step; "checks" of its arguments; "allocation" of the buffer for its result; "kernel",
            taken as what one more step costs in a sequence of a thousand; "call" is what is left: Python's and the
            compiled function's calls, views of arrays, what a sequence pays once
    """
    machine.pin(threads)
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    parts: dict[str, list[float]] = {part: [] for part in ("total", "checks", "allocation", "kernel", "call")}
    with contextlib.ExitStack() as stack:
        workers = [Worker(peer, threads) for peer in peers]
        ours, longer = Worker(_OURS, threads), Worker(_OURS, threads)
        for worker in (*workers, ours, longer):
            stack.callback(worker.close)
        for worker in (*workers, ours):
            worker.prepare(STEP)
        longer.prepare(_LONG)
        for turn in range(rounds):
            first = turn % len(workers)
            for worker in workers[first:] + workers[:first]:
                times[worker.peer].append(worker.time("step"))
            total, checks, allocation = (ours.time(name) for name in ("step", "checks", "allocation"))
            kernel = (longer.time("forward") - total) / (_LONG.T - STEP.T)
            call = total - checks - allocation - kernel
            for part, time in zip(parts, (total, checks, allocation, kernel, call), strict=True):
                parts[part].append(time)
        versions = {worker.peer: worker.about for worker in workers}
    return {
        "machine": machine.describe(threads),
        "versions": versions,
        "dtype": "float32",
        "rounds": rounds,
        "microseconds": times,
        "parts": parts,
    }


def print_step(results: dict[str, Any], console: Console) -> None:
    times = results["microseconds"]
    table = Table(title=f"one step, N={STEP.N}, D=H={STEP.H}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("microseconds", justify="right")
    table.add_column(f"its time / {_OURS}'s", justify="right")
    for name, rounds in times.items():
        against = ratio(times[_OURS], rounds)
        spread = f"{against.median:.2f} ({against.low:.2f}–{against.high:.2f})" if name != _OURS else ""
        table.add_row(name, f"{statistics.median(rounds):.2f}", spread)
    console.print(table)
    console.print(
        f"of {_OURS}'s step: "
        + ", ".join(f"{part} {statistics.median(rounds):.2f} µs" for part, rounds in results["parts"].items()),
        highlight=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description="the latency of one step")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated, xrnn among them (default: all)")
    parser.add_argument("--rounds", type=machine.positive, default=15, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    results = measure_step(options.peers.split(","), options.rounds, options.threads)
    machine.write(results, options.out / "step.json")
    print_step(results, Console())


if __name__ == "__main__":
    main()
