"""What is left of the speed when others use the machine: `python -m benchmarks.busy`, some four minutes.

processes   1, 2, 4, 8 processes at once, each training with the threads that it takes by itself: the calls of all of
            them a second, beside one thread and all threads each, which are held whoever waits, and beside PyTorch
others      one process beside others that keep one CPU busy, and all
recovery    how long after the others have gone the calls are as fast as before
pause       a call after a pause of 20 ms
interrupt   how long after a SIGINT in a long call Python raises KeyboardInterrupt

A call is a forward and a backward pass. Settings take turns, in the same processes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.busy_training import AS_IT_COMES
from benchmarks.cases import Case
from benchmarks.peers import PEERS
from benchmarks.ratios import ratio
from benchmarks.spinning import spin, stop
from benchmarks.worker import environment

CASES: Final = (
    Case(50, 1, 256, 256),
    Case(50, 16, 256, 256),
    Case(50, 16, 64, 64),
    Case(50, 64, 256, 256),
    Case(40, 16, 64, 64),
    Case(50, 16, 256, 256, cell="lstm"),
    Case(50, 16, 64, 64, cell="gru"),
)
PAUSE: Final = 0.02
CONSOLE: Final = Console(width=120)
_SETTLE: Final = 0.25  # seconds before a measurement begins: what ran before is forgotten, and BLAS's threads sleep
_OVERTIME: Final = 0.1  # seconds that all go on after it, so that no call at its end has the machine to itself


class Child:
    """A process that trains: `benchmarks.busy_training`, which says what it is asked and answers."""

    def __init__(self, peer: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.busy_training", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(None) | PEERS[peer].environment,
        )

    def prepare(self, case: Case, threads: int) -> None:
        self.ask(prepare=list(case.sizes), cell=case.cell, threads=threads)

    def ask(self, **request: Any) -> None:
        assert self._process.stdin
        print(json.dumps(request), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def interrupt(self) -> float:
        """Send SIGINT → when it was sent."""
        sent = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        return sent

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def children(peer: str, count: int) -> Iterator[list[Child]]:
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(count):
            started.append(Child(peer))
            stack.callback(started[-1].close)
        yield started


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Other processes, each of which keeps a CPU busy."""
    spinning = spin(count)
    try:
        yield
    finally:
        stop(spinning)


def rate(workers: Sequence[Child], case: Case, threads: int, seconds: float) -> float:
    """Calls a second of all workers at once."""
    for worker in workers:
        worker.prepare(case, threads)
    for worker in workers:
        worker.answer()
    start = time.monotonic() + _SETTLE
    for worker in workers:
        worker.ask(start=start, stop=start + seconds + _OVERTIME)
    return sum(count_calls(worker.answer(), start, start + seconds) for worker in workers) / seconds


def count_calls(bounds: Sequence[float], start: float, stop: float) -> float:
    """How many of the calls between these bounds lie between `start` and `stop`; of one that is cut, its share.

    Whole calls alone would be too few where a call takes a good part of the time.
    """
    return sum(
        max(min(end, stop) - max(begin, start), 0.0) / (end - begin) for begin, end in itertools.pairwise(bounds)
    )


Measured = dict[str, dict[str, list[float]]]  # by what is beside it, by setting: calls a second, one a round


def measure_processes(
    workers: Sequence[Child], case: Case, counts: Sequence[int], settings: dict[str, int], rounds: int, seconds: float
) -> Measured:
    rates: Measured = {str(count): {name: [] for name in settings} for count in counts}
    for _ in range(rounds):
        for count in counts:
            for name, threads in settings.items():
                rates[str(count)][name].append(rate(workers[:count], case, threads, seconds))
    return rates


def measure_others(
    worker: Child, case: Case, others: Sequence[int], settings: dict[str, int], rounds: int, seconds: float
) -> Measured:
    rates: Measured = {str(count): {name: [] for name in settings} for count in others}
    for _ in range(rounds):
        for count in others:
            with busy(count):
                for name, threads in settings.items():
                    rates[str(count)][name].append(rate([worker], case, threads, seconds))
    return rates


def measure_recovery(worker: Child, case: Case, others: int, seconds: float) -> float:
    """Milliseconds from the end of the others until the calls are as fast as they are in the end.

    As fast: from there on half of any ten calls in a row take no more than 1.2 times the median of the last ones.
    """
    with busy(others):
        worker.prepare(case, AS_IT_COMES)
        worker.answer()
        start = time.monotonic()
        worker.ask(start=start, stop=start + 2 * seconds)
        time.sleep(seconds)
        gone = time.monotonic() - start
    ends = [end - start for end in worker.answer()[1:]]
    times = [after - before for before, after in itertools.pairwise(ends)]
    fast = 1.2 * statistics.median(times[-len(times) // 5 :])
    for i, end in enumerate(ends[:-10]):
        if end > gone and statistics.median(times[i : i + 10]) <= fast:
            return float(1e3 * (end - gone))
    return float("inf")


def measure_pause(worker: Child, case: Case, calls: int) -> dict[str, list[float]]:
    """Times of calls after a pause, in microseconds, as it comes and on one thread."""
    times: dict[str, list[float]] = {"as it comes": [], "one thread": []}
    for _ in range(3):
        for name, threads in zip(times, (AS_IT_COMES, 1), strict=True):
            worker.prepare(case, threads)
            worker.answer()
            worker.ask(calls=calls, pause=PAUSE)
            times[name] += worker.answer()
    return times


def measure_interrupt(worker: Child, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from SIGINT to KeyboardInterrupt, in calls that would take seconds."""
    waits: dict[str, list[float]] = {"forward": [], "backward": []}
    for name, times in waits.items():
        for _ in range(rounds):
            worker.ask(long=name)
            worker.answer()  # it is about to begin
            time.sleep(0.5)
            sent = worker.interrupt()
            times.append(1e3 * (worker.answer() - sent))
    return waits


# ---- the command ----


def print_rates(title: str, case_rates: dict[str, Measured], console: Console) -> None:
    first = next(iter(case_rates.values()))
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("T, N, D, H")
    for beside in first:
        table.add_column(beside, justify="right")
    for case, rates in case_rates.items():
        for name in next(iter(rates.values())):
            medians = (f"{statistics.median(by_setting[name]):,.0f}" for by_setting in rates.values())
            table.add_row(f"{case} {name}", *medians)
        table.add_row(f"{case} of the best fixed", *(f"{of_best(by_setting):.2f}" for by_setting in rates.values()))
    console.print(table)


def of_best(by_setting: dict[str, list[float]]) -> float:
    """What it reaches as it comes, of the held setting with the best median: the median over the rounds.

    The rates of one round are a second apart, and a virtual machine's speed changes from minute to minute.
    """
    held = (rates for name, rates in by_setting.items() if name not in ("as it comes", "torch"))
    return ratio(max(held, key=statistics.median), by_setting["as it comes"]).median


def processes(workers: Sequence[Child], cases: Sequence[Case], options: argparse.Namespace) -> dict[str, Measured]:
    counts, rounds, seconds = options.processes, options.rounds, options.seconds
    settings = held_settings()
    measured = {case.name: measure_processes(workers, case, counts, settings, rounds, seconds) for case in cases}
    if not options.alone and find_spec("torch"):
        with children("torch", max(counts)) as peers:
            for case in cases:
                theirs = measure_processes(peers, case, counts, {"torch": AS_IT_COMES}, 1, seconds)
                for count, rates in theirs.items():
                    measured[case.name][count] |= rates
    print_rates("calls a second of so many processes", measured, CONSOLE)
    return measured


def others(workers: Sequence[Child], cases: Sequence[Case], options: argparse.Namespace) -> dict[str, Measured]:
    settings, counts = held_settings(), (1, cpus())
    rounds, seconds = options.rounds, options.seconds
    measured = {case.name: measure_others(workers[0], case, counts, settings, rounds, seconds) for case in cases}
    print_rates("calls a second beside so many busy processes", measured, CONSOLE)
    return measured


def recovery(workers: Sequence[Child], cases: Sequence[Case], options: argparse.Namespace) -> dict[str, list[float]]:
    measured = {}
    for case in cases:
        waits = [measure_recovery(workers[0], case, cpus(), 0.6) for _ in range(options.rounds)]
        measured[case.name] = waits
        CONSOLE.print(f"{case.name}: recovered after {', '.join(f'{wait:.0f}' for wait in waits)} ms")
    return measured


def pause(
    workers: Sequence[Child], cases: Sequence[Case], options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    measured = {}
    for case in cases:
        times = measured[case.name] = measure_pause(workers[0], case, 10)
        ours, one = (statistics.median(t) for t in times.values())
        CONSOLE.print(f"{case.name}: after a pause {ours:,.0f} µs, on one thread {one:,.0f}, {ours / one:.2f}")
    return measured


def interrupt(workers: Sequence[Child], cases: Sequence[Case], options: argparse.Namespace) -> dict[str, list[float]]:
    measured = measure_interrupt(workers[0], options.rounds)
    for name, waits in measured.items():
        CONSOLE.print(f"{name}: KeyboardInterrupt after {', '.join(f'{wait:.0f}' for wait in waits)} ms")
    return measured


PARTS: Final[dict[str, Callable[..., Any]]] = {
    part.__name__: part for part in (processes, others, recovery, pause, interrupt)
}


def cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def held_settings() -> dict[str, int]:
    """Threads by the name of a setting: as it comes, and held at one and at all."""
    all_of_them = {f"{cpus()} threads": cpus()} if cpus() > 1 else {}
    return {"as it comes": AS_IT_COMES, "one thread": 1} | all_of_them


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description="speed on a busy machine")
    parser.add_argument("--parts", type=machine.some_of(PARTS), default=",".join(PARTS), help="(default: %(default)s)")
    parser.add_argument("--cases", default="", help="only the cases whose name contains this, such as N16-D256")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument(
        "--processes", type=machine.positive, nargs="+", default=[1, 2, 4, 8], help="(default: %(default)s)"
    )
    parser.add_argument("--rounds", type=machine.positive, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=machine.amount, default=0.5, help="of a measurement (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)

    cases = [case for case in CASES if options.cases in case.name]
    if not cases:
        parser.error(f"--cases is {options.cases}: expected a part of a name such as {CASES[0].name}")
    results: dict[str, Any] = {"machine": machine.describe(cpus()), "dtype": "float32"}
    with children("xrnn", max(options.processes) if "processes" in options.parts else 1) as workers:
        results |= {name: part(workers, cases, options) for name, part in PARTS.items() if name in options.parts}
    machine.write(results, options.out / "busy.json")


if __name__ == "__main__":
    main()
