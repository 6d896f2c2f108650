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
from benchmarks.cases import Case, Problem, check
from benchmarks.peers import PEERS, build
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
PROCESSES: Final = (1, 2, 4, 8)
PARTS: Final = ("processes", "others", "recovery", "pause", "interrupt")
AS_IT_COMES: Final = 0  # threads: as many as the library takes by itself; else so many, whoever waits
PAUSE: Final = 0.02
_SETTLE: Final = 0.25  # seconds before a measurement begins: what ran before is forgotten, and BLAS's threads sleep


class Child:
    """A process that trains: {"case", "threads", "start", "stop"} → the ends of its calls, seconds on one clock."""

    def __init__(self, peer: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.busy", "--child", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(None) | PEERS[peer].environment,
        )

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
    spin = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # none outlives this process
    spinning = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def ends_of_calls(workers: Sequence[Child], case: Case, threads: int, seconds: float) -> list[list[float]]:
    """Each worker's ends of calls, from the start of the measurement on, all at once."""
    for worker in workers:
        worker.ask(prepare=list(case.sizes), cell=case.cell, threads=threads)
    for worker in workers:
        worker.answer()
    start = time.monotonic() + _SETTLE
    for worker in workers:
        worker.ask(start=start, stop=start + seconds)
    return [[end - start for end in worker.answer()] for worker in workers]


def rate(workers: Sequence[Child], case: Case, threads: int, seconds: float) -> float:
    return sum(len(ends) for ends in ends_of_calls(workers, case, threads, seconds)) / seconds


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
        worker.ask(prepare=list(case.sizes), cell=case.cell, threads=AS_IT_COMES)
        worker.answer()
        start = time.monotonic()
        worker.ask(start=start, stop=start + 2 * seconds)
        time.sleep(seconds)
        gone = time.monotonic() - start
    ends = [end - start for end in worker.answer()]
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
            worker.ask(prepare=list(case.sizes), cell=case.cell, threads=threads)
            worker.answer()
            worker.ask(pauses=calls)
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


# ---- the child ----


def _hold(peer: str, threads: int) -> None:
    if peer == "torch":
        import torch

        torch.set_num_threads(threads or os.cpu_count() or 1)
        return
    from threadpoolctl import threadpool_limits

    from xrnn.backends.numpy import kernels

    threadpool_limits(threads or os.cpu_count() or 1, user_api="openmp")
    kernels.hold_threads(threads != AS_IT_COMES)


def _calls_until(call: Callable[[], Any], start: float, stop: float) -> list[float]:
    ends = []
    while (now := time.monotonic()) < stop:
        if now >= start:
            ends.append(now)
        call()
    return ends[1:]


def _after_pauses(call: Callable[[], Any], count: int) -> list[float]:
    times = []
    for _ in range(count):
        time.sleep(PAUSE)
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return times


def _interrupted(name: str, say: Callable[[Any], None]) -> float:
    """When KeyboardInterrupt came, in a call that would take half a minute."""
    import numpy as np

    import xrnn

    T, N, D, H = 20_000, 32, 1, 1024
    rnn = xrnn.RNN.init(D, H, rng=np.random.default_rng(0), backend="numpy")
    x = np.zeros((T, N, D), np.float32)
    dh = np.broadcast_to(np.zeros(H, np.float32), (T, N, H))
    if name == "backward":
        rnn.forward(x[:1])
    try:
        say("ready")
        if name == "forward":
            rnn(x)
        else:
            from xrnn.backends.numpy import kernels

            states = (np.zeros((T + 1, N, H), np.float32),)
            (Wx, Wh, _), (dWx, dWh, db) = rnn.params, rnn.grads
            kernels.backward("tanh", x, Wx, Wh, states, None, None, False, None, (dh,), dWx, dWh, db)
    except KeyboardInterrupt:
        return time.monotonic()
    return float("inf")


def child(peer: str) -> None:
    # What a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    prepared: dict[tuple[Any, ...], Callable[[], Any]] = {}
    call: Callable[[], Any] = lambda: None  # noqa: E731
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            key = (*request["prepare"], request["cell"])
            _hold(peer, request["threads"])
            if key not in prepared:
                problem = Problem(Case(*request["prepare"], cell=request["cell"]))
                prepared[key] = build(peer, problem, threads=0).calls["train"]
                check("train", prepared[key](), problem)
                _hold(peer, request["threads"])
            call = prepared[key]
            say("ready")
        elif "pauses" in request:
            say(_after_pauses(call, request["pauses"]))
        elif "long" in request:
            say(_interrupted(request["long"], say))
        else:
            say(_calls_until(call, request["start"], request["stop"]))


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
    """What it reaches as it comes, of the best of the held settings."""
    medians = {name: statistics.median(rates) for name, rates in by_setting.items() if not name.startswith("torch")}
    return medians.pop("as it comes") / max(medians.values())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description="speed on a busy machine")
    parser.add_argument("--parts", default=",".join(PARTS), help="(default: %(default)s)")
    parser.add_argument("--cases", default="", help="only the cases whose name contains this, such as N16-D256")
    parser.add_argument("--peers", default="xrnn,torch", help="(default: %(default)s)")
    parser.add_argument("--processes", default=",".join(map(str, PROCESSES)), help="(default: %(default)s)")
    parser.add_argument("--rounds", type=machine.positive, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a measurement (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder (default: %(default)s)")
    parser.add_argument("--child", choices=tuple(PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.child)
        return

    cases = [case for case in CASES if options.cases in case.name]
    if not cases:
        parser.error(f"--cases is {options.cases}: expected a part of a name such as {CASES[0].name}")
    parts = options.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts has {', '.join(sorted(unknown))}: expected some of {', '.join(PARTS)}")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [int(count) for count in options.processes.split(",")]
    settings = {"as it comes": AS_IT_COMES, "one thread": 1} | ({f"{cpus} threads": cpus} if cpus > 1 else {})
    console = Console(width=120)
    results: dict[str, Any] = {"machine": machine.describe(cpus), "dtype": "float32"}

    with children("xrnn", max(counts) if "processes" in parts else 1) as workers:
        if "processes" in parts:
            results["processes"] = {
                case.name: measure_processes(workers, case, counts, settings, options.rounds, options.seconds)
                for case in cases
            }
            if "torch" in options.peers and find_spec("torch"):
                with children("torch", max(counts)) as peers:
                    for case in cases:
                        theirs = measure_processes(peers, case, counts, {"torch": 0}, 1, options.seconds)
                        for count, rates in theirs.items():
                            results["processes"][case.name][count] |= rates
            print_rates("calls a second of so many processes", results["processes"], console)
        if "others" in parts:
            results["others"] = {
                case.name: measure_others(workers[0], case, (1, cpus), settings, options.rounds, options.seconds)
                for case in cases
            }
            print_rates("calls a second beside so many busy processes", results["others"], console)
        if "recovery" in parts:
            results["recovery"] = {}
            for case in cases:
                waits = [measure_recovery(workers[0], case, cpus, 0.6) for _ in range(options.rounds)]
                results["recovery"][case.name] = waits
                console.print(f"{case.name}: recovered after {', '.join(f'{wait:.0f}' for wait in waits)} ms")
        if "pause" in parts:
            results["pause"] = {}
            for case in cases:
                times = results["pause"][case.name] = measure_pause(workers[0], case, 10)
                ours, one = (statistics.median(t) for t in times.values())
                console.print(f"{case.name}: after a pause {ours:,.0f} µs, on one thread {one:,.0f}, {ours / one:.2f}")
        if "interrupt" in parts:
            results["interrupt"] = measure_interrupt(workers[0], options.rounds)
            for name, waits in results["interrupt"].items():
                console.print(f"{name}: KeyboardInterrupt after {', '.join(f'{wait:.0f}' for wait in waits)} ms")
    machine.write(results, options.out / "busy.json")


if __name__ == "__main__":
    main()
