"""The latency of one step at N = 1, H = 64, and its parts: `python -m benchmarks.step`."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.cases import COMMON, Case
from benchmarks.peers import PEERS
from benchmarks.ratios import ratio
from benchmarks.step_int8 import measure_int8, print_int8
from benchmarks.tables import table, wide_console
from benchmarks.worker import Worker, timed, workers

_TITLES: Final = {"step": "call", "stream": "stream", "train": "forward + backward"}
_SIZE: Final = 64  # D and H
_OURS: Final = "xrnn"


def measure_step(peers: Sequence[str], rounds: int, threads: int) -> dict[str, Any]:
    """Times of each cell in microseconds, one a round: by operation and library, and of the parts of xrnn's call.

    parts   "total": a call; "allocation": the buffers of the states; "kernel": the cost of one more step in a sequence
            of a thousand; "call": the rest, which is Python, the binding, the checks, the fixed cost of a sequence
    """
    machine.pin(threads)
    with workers(peers, threads) as started, Worker(_OURS, threads) as ours, Worker(_OURS, 1) as longer:
        cases = []
        for cell in COMMON:
            for worker in started:
                worker.prepare(_case(cell, 1))
            times = timed(started, list(_TITLES), rounds)
            cases.append({"cell": cell, "microseconds": times, "parts": _parts(cell, ours, longer, rounds)})
        return {
            "machine": machine.describe(threads),
            "versions": {worker.peer: worker.about for worker in started},
            "dtype": "float32",
            "rounds": rounds,
            "cases": cases,
        }


def _case(cell: str, T: int) -> Case:
    return Case(T=T, N=1, D=_SIZE, H=_SIZE, cell=cell)


def _parts(cell: str, ours: Worker, longer: Worker, rounds: int) -> dict[str, list[float]]:
    """longer  a worker on one thread, as a single step uses"""
    more = 1000
    ours.prepare(_case(cell, 1))
    longer.prepare(_case(cell, 1 + more))
    parts: dict[str, list[float]] = {"total": [], "allocation": [], "kernel": [], "call": []}
    for _ in range(rounds):
        total, allocation = ours.time("step"), ours.time("allocation")
        kernel = (longer.time("forward") - total) / more
        for part, time in zip(parts.values(), (total, allocation, kernel, total - allocation - kernel), strict=True):
            part.append(time)
    return parts


def print_step(results: dict[str, Any], console: Console) -> None:
    for case in results["cases"]:
        console.print(_table(case["cell"], case["microseconds"]))
        parts = (f"{part} {statistics.median(rounds):.2f} µs" for part, rounds in case["parts"].items())
        console.print(f"parts of {_OURS}'s call: {', '.join(parts)}")


def _table(cell: str, microseconds: dict[str, dict[str, list[float]]]) -> Table:
    rows = []
    for operation, times in microseconds.items():
        for library, rounds in times.items():
            compared = ratio(times[_OURS], rounds) if _OURS in times and library != _OURS else None
            name = _TITLES[operation] if library == next(iter(times)) else ""
            rows.append([name, library, f"{statistics.median(rounds):.2f}", str(compared or "")])
    title = f"{cell.upper()}, one step, N=1, D=H={_SIZE}"
    return table(title, ["", "library", "microseconds", f"its time / {_OURS}'s"], rows, left=2)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description="the latency of one step")
    parser.add_argument(
        "--peers",
        type=machine.some_of(PEERS),
        default=list(PEERS),
        help="comma-separated, xrnn among them (default: all)",
    )
    parser.add_argument("--rounds", type=machine.positive, default=15, help="(default: %(default)s)")
    parser.add_argument(
        "--int8",
        metavar="SIZES",
        type=lambda text: [machine.positive(size) for size in text.split(",")],
        help="instead measure weights of 8 bits at these sizes, comma-separated, beside ONNX Runtime's",
    )
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    if _OURS not in options.peers:
        parser.error(f"--peers has no {_OURS}: expected it, to compare the others with")
    machine.print_version()
    if options.int8:
        machine.pin(options.threads)
        measured = measure_int8(options.int8, options.rounds, options.threads)
        machine.write(measured, options.out / "step-int8.json")
        print_int8(measured, wide_console())
        return
    results = measure_step(options.peers, options.rounds, options.threads)
    machine.write(results, options.out / "step.json")
    print_step(results, wide_console())


if __name__ == "__main__":
    main()
