"""How well xrnn divides a recurrence among threads: `python -m benchmarks.partition`, a minute.

Every division is timed, also those that xrnn does not choose, with cases on both sides of each threshold of
backends/numpy/kernels/partition.cpp: in wall time, and in the number of processors that it keeps busy. `gain` is the
fastest single thread's time over the chosen division's. The divisions take turns, so that other load affects all of
them; each round measures all cases, because a virtual machine's second CPU is sometimes slow for seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from rich.console import Console

import xrnn
from benchmarks import machine
from benchmarks.cases import GATES, LAYERS, Case, Problem
from benchmarks.ratios import ratio
from benchmarks.tables import table, wide_console
from benchmarks.worker import measure
from xrnn.backends.numpy import kernels
from xrnn.info import describe

Way = tuple[int, Literal["rows", "columns"], bool]  # threads, split, whether x @ Wx comes first

CASES: Final = (
    *(Case(1, N, H, H) for H in (64, 256, 1024) for N in (1, 4, 16, 64, 256)),
    *(Case(50, N, H, H) for H in (32, 64, 96, 128, 256) for N in (1, 2, 4, 8, 16)),
    *(Case(10, N, H, H) for H in (64, 256, 512) for N in (1, 3, 6, 32)),
    *(Case(20, N, 1024, 1024) for N in (1, 16, 64)),
    Case(40, 16, 64, 64),
    Case(1, 1, 512, 512, cell="lstm"),
    *(Case(1, 1, 512, 1024, cell=cell) for cell in ("lstm", "gru")),
)


def ways(threads: int) -> list[Way]:
    splits: tuple[Literal["rows", "columns"], ...] = ("rows", "columns")
    divided: list[Way] = [(threads, split, first) for split in splits for first in (False, True)] if threads > 1 else []
    return [(1, "rows", False), (1, "rows", True), *divided]


def chosen(case: Case, threads: int) -> Way:
    columns = GATES[case.cell][1] * case.H
    n, split, first = kernels.partition(case.T, case.N, case.D + case.H, columns, 4, threads, (case.D, columns))
    return (n, split if n > 1 else "rows", first)


@contextlib.contextmanager
def forced(way: Way) -> Iterator[None]:
    kernels.force_partition(*way)
    try:
        yield
    finally:
        kernels.force_partition(0, "rows", False)


class Timed:
    """The times of one case's forward pass, by division, one a round."""

    def __init__(self, case: Case, threads: int) -> None:
        problem = Problem(case)
        self.case, self.threads = case, threads
        self._forward = functools.partial(LAYERS[case.cell](*problem.weights), problem.x, *problem.states)
        self._times: dict[Way, list[float]] = {way: [] for way in ways(threads)}  # microseconds
        self._processors: dict[Way, list[float]] = {way: [] for way in self._times}

    def time(self) -> None:
        for way, times in self._times.items():
            with forced(way):
                began = time.perf_counter()
                used = time.process_time()
                times.append(1e6 * measure(self._forward, at_least=1e-2))
                self._processors[way].append((time.process_time() - used) / (time.perf_counter() - began))

    def result(self) -> dict[str, Any]:
        medians = {way: statistics.median(times) for way, times in self._times.items()}
        return {
            "case": self.case.name,
            "microseconds": {name(way): times for way, times in self._times.items()},
            "processors": {name(way): statistics.mean(used) for way, used in self._processors.items()},
            "best": name(min(medians, key=medians.__getitem__)),
            "chosen": name(chosen(self.case, self.threads)),
        }


def measure_partitions(cases: Sequence[Case], rounds: int, threads: int) -> dict[str, Any]:
    timed = [Timed(case, threads) for case in cases]
    for _ in range(rounds):
        for case in timed:
            case.time()
    versions = describe(xrnn.get_backend("numpy"))
    results = [case.result() for case in timed]
    return {"machine": machine.describe(threads), "versions": versions, "dtype": "float32", "cases": results}


def name(way: Way) -> str:
    threads, split, first = way
    return ("1 thread" if threads == 1 else f"{threads} by {split}") + (", x first" if first else "")


def print_partitions(results: dict[str, Any], console: Console) -> None:
    names = list(results["cases"][0]["microseconds"])
    columns = ["", "chosen", *names, "chosen / best", "processors", "gain"]
    rows, losses, gains = [], [], []
    for case in results["cases"]:
        times, way = case["microseconds"], case["chosen"]
        medians = {name: statistics.median(times[name]) for name in names}
        one_thread = min((name for name in names if name.startswith("1 thread")), key=medians.__getitem__)
        loss = ratio(times[case["best"]], times[way])
        gain = ratio(times[way], times[one_thread]).median
        losses.append(loss.median)
        if not way.startswith("1 thread"):
            gains.append(gain)
        figures = [f"{median:,.1f}" for median in medians.values()]
        rows.append([case["case"], way, *figures, str(loss), f"{case['processors'][way]:.2f}", f"{gain:.2f}"])
    console.print(table("a forward pass, microseconds", columns, rows, left=2))
    console.print(
        f"chosen / best over {len(losses)} cases: geometric mean {statistics.geometric_mean(losses):.3f}, "
        f"largest {max(losses):.2f}; of {len(gains)} cases with several threads, "
        f"{sum(gain < 1.25 for gain in gains)} gain less than a quarter over one thread"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.partition", description="the division among threads")
    parser.add_argument(
        "--cases", default="", help="only cases of this cell, or with such a part in the name: N16-D256"
    )
    parser.add_argument("--rounds", type=machine.positive, default=5, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    cases = machine.cases_named(parser, CASES, options.cases)
    machine.print_version()
    with machine.threadpools().threadpool_limits(options.threads):
        results = measure_partitions(cases, options.rounds, options.threads)
    machine.write(results, options.out / "partition.json")
    print_partitions(results, wide_console())


if __name__ == "__main__":
    main()
