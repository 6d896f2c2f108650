"""How good the rule is that divides a recurrence among threads: `python -m benchmarks.partition`, a minute.

Every way to divide it is timed, in wall time and in the processors that it keeps busy, whichever the rule would take,
for sizes on either side of each of its thresholds (backends/numpy/kernels/partition.cpp). `gain` is the fastest single
thread's time over the chosen way's. The ways take turns, so that what else the machine does touches all alike; and each
round goes through all sizes, since a virtual machine's second CPU is now and then worth little for seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import xrnn
from benchmarks import machine
from benchmarks.cases import GATES, LAYERS, Case, Problem
from benchmarks.ratios import ratio
from benchmarks.worker import measure
from xrnn.backends.numpy import kernels

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
    n, split, first = kernels.partition(case.T, case.N, case.D + case.H, GATES[case.cell][0] * case.H, 4, threads)
    return (n, split if n > 1 else "rows", first)


@contextlib.contextmanager
def forced(way: Way) -> Iterator[None]:
    kernels.force_partition(*way)
    try:
        yield
    finally:
        kernels.force_partition(0, "rows", False)


class Timed:
    """The times of one case's forward pass by each way, one a round."""

    def __init__(self, case: Case, threads: int) -> None:
        problem = Problem(case)
        self.case, self.threads = case, threads
        self._forward = functools.partial(LAYERS[case.cell](*problem.weights), problem.x, *problem.states)
        self._times: dict[Way, list[float]] = {way: [] for way in ways(threads)}  # microseconds
        self._processors: dict[Way, list[float]] = {way: [] for way in self._times}

    def time(self) -> None:
        for way, times in self._times.items():
            with forced(way):
                began, used = time.perf_counter(), time.process_time()
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
    versions = xrnn.get_backend("numpy").describe()
    cells = [case.result() for case in timed]
    return {"machine": machine.describe(threads), "versions": versions, "dtype": "float32", "cells": cells}


def name(way: Way) -> str:
    threads, split, first = way
    return ("1 thread" if threads == 1 else f"{threads} by {split}") + (", x first" if first else "")


def print_partitions(results: dict[str, Any], console: Console) -> None:
    names = list(results["cells"][0]["microseconds"])
    table = Table(title="a forward pass, microseconds", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", *names, "chosen", "chosen / best", "processors", "gain"):
        table.add_column(column, justify="right" if column in names else "left")
    losses, gains = [], []
    for cell in results["cells"]:
        times = cell["microseconds"]
        loss = ratio(times[cell["best"]], times[cell["chosen"]])
        losses.append(loss.median)
        medians = (f"{statistics.median(times[way]):,.1f}" for way in names)
        best_alone = min(
            (way for way in names if way.startswith("1 thread")), key=lambda way: statistics.median(times[way])
        )
        gain = ratio(times[cell["chosen"]], times[best_alone]).median
        if not cell["chosen"].startswith("1 thread"):
            gains.append(gain)
        table.add_row(
            cell["case"],
            *medians,
            cell["chosen"],
            f"{loss.median:.2f} ({loss.low:.2f}–{loss.high:.2f})",
            f"{cell['processors'][cell['chosen']]:.2f}",
            f"{gain:.2f}",
        )
    console.print(table)
    console.print(
        f"chosen / best over {len(losses)} cells: geometric mean {statistics.geometric_mean(losses):.3f}, "
        f"largest {np.max(losses):.2f}; of {len(gains)} cells with several threads "
        f"{sum(gain < 1.25 for gain in gains)} gain less than a quarter over one",
        highlight=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.partition", description="the division among threads")
    parser.add_argument("--cases", default="", help="only the cases whose name contains this, such as N16-D256")
    parser.add_argument("--rounds", type=machine.positive, default=5, help="(default: %(default)s)")
    machine.add_options(parser)
    options = parser.parse_args(arguments)

    cases = [case for case in CASES if options.cases in case.name]
    if not cases:
        parser.error(f"--cases is {options.cases}: expected a part of a name such as {CASES[0].name}")
    with threadpool_limits(options.threads):
        results = measure_partitions(cases, options.rounds, options.threads)
    machine.write(results, options.out / "partition.json")
    print_partitions(results, Console(width=180))


if __name__ == "__main__":
    main()
