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
from benchmarks.cases import COMMON, Case
from benchmarks.peers import PEERS
from benchmarks.ratios import ratio
from benchmarks.worker import Worker

_TITLES: Final = {"step": "call", "stream": "stream", "train": "forward + backward"}
_PARTS: Final = ("total", "allocation", "kernel", "call")
_SIZE: Final = 64  # D and H
_OURS: Final = "xrnn"


def measure_step(peers: Sequence[str], rounds: int, threads: int, cells: Sequence[str] = COMMON) -> dict[str, Any]:
    """Times of each cell in microseconds, one a round: by operation and library, and of the parts of xrnn's call.

    parts   "total" of a call; "allocation" of the buffers for the states; "kernel", taken as what one more step costs
            in a sequence of a thousand; "call" is what is left: Python's and the compiled function's calls, the checks
            of their arguments, views of arrays, what a sequence pays once
    """
    machine.pin(threads)
    with contextlib.ExitStack() as stack:
        workers = [Worker(peer, threads) for peer in peers]
        ours, longer = Worker(_OURS, threads), Worker(_OURS, 1)  # one thread: as a single step takes
        for worker in (*workers, ours, longer):
            stack.callback(worker.close)
        return {
            "machine": machine.describe(threads),
            "versions": {worker.peer: worker.about for worker in workers},
            "dtype": "float32",
            "rounds": rounds,
            "cells": [
                {
                    "cell": cell,
                    "microseconds": _time(_case(cell, 1), workers, rounds),
                    "parts": _take_apart(cell, ours, longer, rounds),
                }
                for cell in cells
            ],
        }


def _case(cell: str, T: int) -> Case:
    return Case(T=T, N=1, D=_SIZE, H=_SIZE, cell=cell)


def _time(case: Case, workers: Sequence[Worker], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Operation → library → times."""
    able = {worker.peer: worker.prepare(case)["operations"] for worker in workers}
    times: dict[str, dict[str, list[float]]] = {operation: {} for operation in _TITLES}
    for turn in range(rounds):
        first = turn % len(workers)
        for operation, of_operation in times.items():
            for worker in (*workers[first:], *workers[:first]):
                if operation in able[worker.peer]:
                    of_operation.setdefault(worker.peer, []).append(worker.time(operation))
    return times


def _take_apart(cell: str, ours: Worker, longer: Worker, rounds: int) -> dict[str, list[float]]:
    more = 1000
    ours.prepare(_case(cell, 1))
    longer.prepare(_case(cell, 1 + more))
    parts: dict[str, list[float]] = {part: [] for part in _PARTS}
    for _ in range(rounds):
        total, allocation = ours.time("step"), ours.time("allocation")
        kernel = (longer.time("forward") - total) / more
        for part, time in zip(_PARTS, (total, allocation, kernel, total - allocation - kernel), strict=True):
            parts[part].append(time)
    return parts


def print_step(results: dict[str, Any], console: Console) -> None:
    for found in results.get("cells") or [_of_the_only_cell(results)]:
        console.print(_table(found["cell"], found["microseconds"]))
        parts = (f"{part} {statistics.median(rounds):.2f} µs" for part, rounds in found["parts"].items())
        console.print(f"of {_OURS}'s call: {', '.join(parts)}", highlight=False)


def _of_the_only_cell(results: dict[str, Any]) -> dict[str, Any]:
    """What a file holds that was written when there was one cell, and its calls alone were timed."""
    return {"cell": "rnn", "microseconds": {"step": results["microseconds"]}, "parts": results["parts"]}


def _table(cell: str, microseconds: dict[str, dict[str, list[float]]]) -> Table:
    title = f"{cell.upper()}, one step, N=1, D=H={_SIZE}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("library")
    table.add_column("microseconds", justify="right")
    table.add_column(f"its time / {_OURS}'s", justify="right")
    for operation, times in microseconds.items():
        for library, rounds in times.items():
            first = library == next(iter(times))
            compared = _OURS in times and library != _OURS
            against = ratio(times[_OURS], rounds) if compared else None
            table.add_row(
                _TITLES[operation] if first else "",
                library,
                f"{statistics.median(rounds):.2f}",
                f"{against.median:.2f} ({against.low:.2f}–{against.high:.2f})" if against else "",
                end_section=library == list(times)[-1],
            )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description="the latency of one step")
    parser.add_argument(
        "--peers",
        type=machine.some_of(PEERS),
        default=list(PEERS),
        help="comma-separated, xrnn among them (default: all)",
    )
    parser.add_argument(
        "--cells", type=machine.some_of(COMMON), default=",".join(COMMON), help="comma-separated (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=machine.positive, default=15, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    if _OURS not in options.peers:
        parser.error(f"--peers has no {_OURS}: expected it among them, for the others to be compared with")
    results = measure_step(options.peers, options.rounds, options.threads, options.cells)
    machine.write(results, options.out / "step.json")
    print_step(results, Console())


if __name__ == "__main__":
    main()
