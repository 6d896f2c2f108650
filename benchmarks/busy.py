"""The speed on a machine that other processes use: `python -m benchmarks.busy`, half an hour.

processes   calls per second of 1, 2, 4 or 8 training processes together
neighbour   calls per second of one training process, while other processes keep one CPU busy, or all CPUs; beside a
            process that computes and sleeps in turns, and beside one that is bound to one CPU

A call is a forward and a backward pass. Both parts compare three settings of xrnn, in turns and in the same
processes: the number of threads that xrnn chooses for each call ("chosen"); one thread; as many threads as CPUs. The
figures are means over `--seconds`. `--parts`, `--processes` and `--neighbours` choose the rows.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console

from benchmarks import machine
from benchmarks.cases import Case, Problem, check
from benchmarks.peers import Call, build
from benchmarks.processes import Child, busy, environment
from benchmarks.ratios import ratio
from benchmarks.tables import table, wide_console
from xrnn.backends.numpy import kernels

CASES: Final = (
    Case(35, 3, 40, 100, cell="lstm"),
    Case(50, 1, 256, 256, cell="lstm"),
    Case(50, 64, 256, 256, cell="lstm"),
    Case(15, 1, 512, 1024, cell="lstm"),
)
CHOSEN: Final = 0  # a number of threads that means: the library chooses it
# By name: the number of neighbours, 0 for one on each CPU; how long each computes and then sleeps, in seconds; and
# whether it is bound to one CPU.
NEIGHBOURS: Final = {
    "1": (1, 1.0, 0.0, False),
    "all": (0, 1.0, 0.0, False),
    "100/200": (1, 0.1, 0.2, False),
    "5/20": (1, 0.005, 0.02, False),
    "50/50": (1, 0.05, 0.05, False),
    "bound": (1, 1.0, 0.0, True),
}
TURN: Final = 1.0  # seconds of one setting, in turns: longer than the rhythms of NEIGHBOURS
CHOSEN_TURNS: Final = 4  # consecutive turns of CHOSEN: copies need some seconds until each has found its number
# Seconds for each turn before a measurement, in which xrnn chooses its threads and BLAS's threads fall asleep.
_SETTLE: Final = 1.0


class Trainer:
    """Forward and backward passes of one case at a time, in a child process. Times are from `time.monotonic`."""

    def __init__(self) -> None:
        self._built: dict[Case, Call] = {}

    def prepare(self, case: Case) -> None:
        """Build and check the call."""
        if case not in self._built:
            problem = Problem(case)
            self._built[case] = build("xrnn", problem, threads=0).calls["train"]
            check("train", self._built[case](), problem)
        self._call = self._built[case]
        self._use(CHOSEN)

    def _use(self, threads: int) -> None:
        machine.threadpools().threadpool_limits(threads or os.cpu_count() or 1, user_api="openmp")
        kernels.hold_threads(threads != CHOSEN)

    def rates(self, settings: Sequence[int], turn: float, start: float, stop: float) -> dict[int, float]:
        """Calls per second of each setting, which alternate by the clock until `stop`.

        settings  numbers of threads, each for `turn` seconds; several consecutive ones may be equal

        All workers change their number at the same time, and a change of the machine's speed affects all settings. Only
        calls that begin after `start` count.
        """
        calls, seconds = dict.fromkeys(settings, 0), dict.fromkeys(settings, 0.0)
        while (begin := time.monotonic()) < stop:
            number = int((begin - start) // turn)
            now = settings[number % len(settings)]
            self._use(now)
            while begin < start + (number + 1) * turn:
                self._call()
                end = time.monotonic()
                if begin >= start:
                    calls[now] += 1
                    seconds[now] += end - begin
                begin = end
        return {threads: count / max(seconds[threads], 1e-9) for threads, count in calls.items()}


@contextlib.contextmanager
def children(count: int) -> Iterator[list[Child]]:
    """`count` processes that train. The environment sets no number of threads: xrnn chooses it."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Child(Trainer, environment=environment(None))) for _ in range(count)]


def turns(settings: Mapping[str, int]) -> list[int]:
    """The number of threads of each turn."""
    return [threads for name, threads in settings.items() for _ in range(CHOSEN_TURNS if name == "chosen" else 1)]


def rates(workers: Sequence[Child], case: Case, settings: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Calls per second of all workers together, by setting."""
    for worker in workers:
        worker.send("prepare", case)
    for worker in workers:
        worker.receive()
    numbers = turns(settings)
    start = time.monotonic() + _SETTLE * len(numbers)
    for worker in workers:
        worker.send("rates", numbers, seconds / max(1, round(seconds / TURN)), start, start + seconds * len(numbers))
    by_worker = [worker.receive() for worker in workers]
    return {name: sum(worker[threads] for worker in by_worker) for name, threads in settings.items()}


Measured = dict[str, dict[str, list[float]]]  # setup, such as the number of processes → setting → a rate for each round
Neighbours = Callable[[], contextlib.AbstractContextManager[None]]  # the other processes, while it is open
Setups = dict[str, tuple[Sequence[Child], Neighbours]]  # by name: the workers, and the processes beside them


def measure_rates(setups: Setups, case: Case, fixed: Mapping[str, int], rounds: int, seconds: float) -> Measured:
    measured: Measured = {setup: {name: [] for name in fixed} for setup in setups}
    for _ in range(rounds):
        for setup, (workers, neighbours) in setups.items():
            with neighbours():
                for name, value in rates(workers, case, fixed, seconds).items():
                    measured[setup][name].append(value)
    return measured


def print_rates(title: str, case_rates: dict[str, Measured], console: Console) -> None:
    rows = []
    for case, rates in case_rates.items():
        for name in next(iter(rates.values())):
            medians = (f"{statistics.median(by_setting[name]):,.0f}" for by_setting in rates.values())
            rows.append([f"{case} {name}", *medians])
        rows.append([f"{case} of the best fixed", *(f"{of_best(by_setting):.2f}" for by_setting in rates.values())])
    console.print(table(title, ["T, N, D, H", *next(iter(case_rates.values()))], rows))


def of_best(by_setting: dict[str, list[float]]) -> float:
    """The median over the rounds of: the rate on the chosen threads, divided by the rate of the best fixed setting.

    Best is the fixed setting with the highest median. A ratio divides rates of the same round, which were measured
    within seconds, since the speed of a virtual machine varies from minute to minute.
    """
    fixed = (rates for name, rates in by_setting.items() if name != "chosen")
    return ratio(max(fixed, key=statistics.median), by_setting["chosen"]).median


def processes(workers: Sequence[Child], options: argparse.Namespace) -> Setups:
    return {str(count): (workers[:count], contextlib.nullcontext) for count in options.processes}


def neighbour(workers: Sequence[Child], options: argparse.Namespace) -> Setups:
    cpu = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    setups = Setups()
    for name in options.neighbours:
        count, computing, asleep, is_bound = NEIGHBOURS[name]
        setups[name] = (
            workers[:1],
            functools.partial(busy, count or cpus(), computing, asleep, cpu if is_bound else None),
        )
    return setups


PARTS: Final[dict[str, tuple[Callable[..., Setups], str]]] = {
    "processes": (processes, "calls per second, by the number of processes"),
    "neighbour": (neighbour, "calls per second, by the neighbours: ms of computing / sleeping"),
}


def cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settings() -> dict[str, int]:
    """The number of threads, by the name of a setting."""
    all_of_them = {f"{cpus()} threads": cpus()} if cpus() > 1 else {}
    return {"chosen": CHOSEN, "one thread": 1} | all_of_them


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description="speed on a busy machine")
    parser.add_argument("--parts", type=machine.some_of(PARTS), default=",".join(PARTS), help="(default: %(default)s)")
    parser.add_argument(
        "--processes", type=machine.positive, nargs="+", default=[1, 2, 4, 8], help="(default: %(default)s)"
    )
    parser.add_argument(
        "--neighbours",
        type=machine.some_of(NEIGHBOURS),
        default=",".join(NEIGHBOURS),
        help=f"some of {', '.join(NEIGHBOURS)} (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=machine.positive, default=2, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=machine.amount, default=2.5, help="of each setting (default: %(default)s)")
    machine.add_out(parser)
    options = parser.parse_args(arguments)

    if not kernels:
        parser.error("xrnn has no compiled kernels here, and only they adapt to a busy machine: pip install -e .")
    machine.print_version()
    results: dict[str, Any] = {"machine": machine.describe(cpus()), "dtype": "float32"}
    with children(max(options.processes) if "processes" in options.parts else 1) as workers:
        for name in options.parts:
            part, title = PARTS[name]
            setups = part(workers, options)
            how = (settings(), options.rounds, options.seconds)
            results[name] = {case.name: measure_rates(setups, case, *how) for case in CASES}
            print_rates(title, results[name], wide_console())
    machine.write(results, options.out / "busy.json")


if __name__ == "__main__":
    main()
