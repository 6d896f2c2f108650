"""Every form of the recurrence beside torch.nn.RNN on cuDNN: `python -m benchmarks.gpu.forms FILE [--seconds S]`.

All in one process, on one stream, by events: a round measures each, one after the other. What each returns is compared
with the plain form in float64, on the device, before it is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

import xrnn
from benchmarks import machine
from benchmarks.cases import Array, Case, Problem, check, to_numpy
from benchmarks.peers import Call
from xrnn.backend import Backend
from xrnn.backends import cupy as adapter
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.choice import Candidate, candidates, choose

OPERATIONS: Final = ("forward", "train")
HIDDEN: Final = (64, 128, 256, 512, 1024, 2048)
BATCHES: Final = (1, 4, 16, 64, 256)
CASES: Final = tuple(Case(50, N, H, H) for H in HIDDEN for N in BATCHES)
GROUPS: Final = 3  # layouts of a group, those predicted to be the fastest
TF32_TOLERANCE: Final = 3e-2  # ten bits of a factor, through fifty steps


class DeviceProblem(Problem):
    """The problem of a case with a reference that the device makes: the plain form in float64."""

    def __init__(self, case: Case, backend: Backend) -> None:
        super().__init__(case)
        self.backend = backend

    @cached_property
    def reference(self) -> dict[str, Array]:
        move = self.backend.asarray
        rnn = xrnn.RNN(*(move(a, "float64") for a in (self.Wx, self.Wh, self.b)))
        with xrnn.use_fused(False):
            h = rnn.forward(move(self.x, "float64"), move(self.h_prev, "float64"))
            dx, dh_prev = rnn.backward(move(self.dh, "float64"))
        named = {"h": h, "dx": dx, "dh_prev": dh_prev, "dWx": rnn.grads[0], "dWh": rnn.grads[1], "db": rnn.grads[2]}
        return {name: to_numpy(array) for name, array in named.items()}


@contextmanager
def forced(candidate: Candidate) -> Iterator[None]:
    """Within the block the recurrence takes `candidate`, whatever the selection says."""

    def always(*sizes: Any) -> Candidate:
        return candidate

    with mock.patch.object(adapter, "choose", always):
        yield


@dataclass(frozen=True)
class Contestant:
    """Calls by operation, made within `context`."""

    calls: dict[str, Call]
    context: Callable[[], AbstractContextManager[Any]]
    tolerance: float = 1e-4


def label(candidate: Candidate) -> str:
    """As in the results: `plain`, `one-block rows=2`, `group 16x8 rows=4`."""
    if candidate.form == "plain":
        return "plain"
    grid = "" if candidate.form == "one-block" else f" {candidate.grid[0]}x{candidate.grid[1]}"
    return f"{candidate.form}{grid} rows={candidate.rows}"


def ours(backend: CupyBackend, problem: Problem) -> tuple[dict[str, Contestant], dict[str, Candidate], dict[str, str]]:
    """Plain, every one-block and the most promising groups → contestants, candidates, why some are not used."""
    case = problem.case
    x, h_prev, dh = (backend.asarray(a) for a in (problem.x, problem.h_prev, problem.dh))
    rnn = xrnn.RNN(*(backend.asarray(a) for a in (problem.Wx, problem.Wh, problem.b)))

    def train() -> tuple[Any, ...]:
        h = rnn.forward(x, h_prev)
        return h, *rnn.backward(dh), *rnn.grads

    longer = backend.xp.concatenate([x, x])
    calls: dict[str, Call] = {"forward": lambda: rnn(x, h_prev), "train": train, "longer": lambda: rnn(longer, h_prev)}
    found = candidates(backend.launcher.device(), np.dtype("float32"), case.T, case.N, case.D, case.H)
    groups = sorted((c for c in found if c.form == "group"), key=lambda c: c.seconds)[:GROUPS]
    contestants, used, refused = {}, {}, {}
    for candidate in [*(c for c in found if c.form != "group"), *groups]:
        name = label(candidate)
        if why := "" if candidate.form == "plain" else _against(backend, candidate, case.H):
            refused[name] = why
            continue
        used[name] = candidate
        contestants[name] = Contestant(calls, lambda candidate=candidate: forced(candidate))  # type: ignore[misc]
    return contestants, used, refused


def _against(backend: CupyBackend, candidate: Candidate, H: int) -> str:
    return next(filter(None, (backend.against(candidate, "float32", H, backward) for backward in (False, True))), "")


def theirs(problem: Problem) -> dict[str, Contestant]:
    """torch.nn.RNN without and with TF32; nothing where PyTorch or its GPU isn't there."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    from benchmarks.peers import torch_cudnn

    calls = {name: call for name, call in torch_cudnn.build(problem, 1).calls.items() if name in OPERATIONS}
    return {
        "torch": Contestant(calls, lambda: torch_cudnn.tf32(False)),
        "torch tf32": Contestant(calls, lambda: torch_cudnn.tf32(True), TF32_TOLERANCE),
    }


def event_times(call: Call) -> tuple[float, float]:
    """The device's and the host's median over a few calls, in microseconds; each waits for the device first."""
    from cupyx.profiler import benchmark

    times = benchmark(call, n_repeat=5, n_warmup=1)
    return float(np.median(times.gpu_times)) * 1e6, float(np.median(times.cpu_times)) * 1e6


def host_times(call: Call) -> tuple[float, float]:
    """The same without a device: for trying this program out."""
    start = time.perf_counter()
    call()
    took = (time.perf_counter() - start) * 1e6
    return took, took


Timer = Callable[[Call], tuple[float, float]]


def measure(backend: CupyBackend, case: Case, rounds: int, timer: Timer = event_times) -> list[dict[str, Any]]:
    """A cell for each operation: times in microseconds, one a round, and what took part."""
    problem = DeviceProblem(case, backend)
    mine, used, refused = ours(backend, problem)
    everybody = {**mine, **theirs(problem)}
    chosen = label(choose(backend.launcher.device(), np.dtype("float32"), case.T, case.N, case.D, case.H))
    chosen = chosen if chosen in used else "plain"
    cells = []
    for operation in OPERATIONS:
        errors: dict[str, float] = {}
        wrong: dict[str, str] = {}
        for name, contestant in everybody.items():
            try:
                with contestant.context():
                    errors[name] = check(operation, contestant.calls[operation](), problem, contestant.tolerance)
            except Exception as error:
                if name == "plain":  # nothing to compare the others with
                    raise
                wrong[name] = f"{type(error).__name__}: {error}"
        names = [*errors]
        best = chosen if chosen in errors else "plain"
        device: dict[str, list[float]] = {name: [] for name in names}
        host: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                with everybody[name].context():
                    times = timer(everybody[name].calls[operation])
                device[name].append(times[0])
                host[name].append(times[1])
        cell = {
            "case": case.name,
            **asdict(case),
            "operation": operation,
            "flops": case.flops(operation),
            "microseconds": device,
            "host_microseconds": {name: statistics.median(times) for name, times in host.items()},
            "errors": errors,
            "wrong": wrong,
            "chosen": best,
            "candidates": {name: asdict(candidate) for name, candidate in used.items()},
            "not_used": refused,
        }
        if operation == "forward":  # the chosen form's, of twice the steps
            with everybody[best].context():
                cell["longer_microseconds"] = [timer(everybody[best].calls["longer"])[0] for _ in range(rounds)]
        cells.append(cell)
    return cells


def compete(
    backend: CupyBackend, cases: Sequence[Case], seconds: float, rounds: int, out: Path, timer: Timer = event_times
) -> dict[str, Any]:
    """All cells that fit into `seconds`, also in `out`, which grows case by case."""
    end = time.monotonic() + seconds
    results: dict[str, Any] = {"dtype": "float32", "rounds": rounds, "cells": [], "dropped": [], "failed": {}}
    results["device"] = asdict(backend.launcher.device())
    slowest = 0.0
    for number, case in enumerate(cases, 1):
        start = time.monotonic()
        if start + 1.5 * slowest > end:
            results["dropped"] += [other.name for other in cases[number - 1 :]]
            print(f"no time for {', '.join(results['dropped'])}", flush=True)
            break
        try:
            results["cells"] += (cells := measure(backend, case, rounds, timer))
            # Another library's result may be off, or missing; one of ours may not.
            if ours_wrong := [f"{n}: {why}" for c in cells for n, why in c["wrong"].items() if n in c["candidates"]]:
                results["failed"][case.name] = "; ".join(ours_wrong)
        except Exception as error:  # the other cases still have something to say
            results["failed"][case.name] = f"{type(error).__name__}: {error}"
            print(f"{case.name}: {results['failed'][case.name]}", flush=True)
        slowest = max(slowest, time.monotonic() - start)
        machine.write(results, out)
        print(f"{number:3}/{len(cases)}  {case.name:24} {time.monotonic() - start:5.1f} s", flush=True)
    machine.write(results, out)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.forms", description="all forms, beside cuDNN")
    parser.add_argument("out", type=Path, help="the JSON file to write")
    parser.add_argument(
        "--seconds", type=float, default=600, help="what is left then is dropped (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--cases", default="", help="only the cases whose name contains this, such as N16-D256")
    options = parser.parse_args(arguments)
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    cases = [case for case in CASES if options.cases in case.name]
    # Its own start and end take some of the time that it was given.
    results = compete(backend, cases, options.seconds - 15, options.rounds, options.out)
    return int(bool(results["failed"]))


if __name__ == "__main__":
    raise SystemExit(main())
