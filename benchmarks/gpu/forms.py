"""Every form of the recurrence beside torch.nn.RNN on cuDNN: `python -m benchmarks.gpu.forms FILE [--seconds S]`.

All in one process, on one stream, by events around a whole call: a round measures each, one after the other. What each
returns is compared with the plain form in float64, on the device, before it is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

import xrnn
from benchmarks.cases import Case, Problem, check
from benchmarks.gpu import results
from benchmarks.gpu.timing import microseconds
from benchmarks.peers import Call
from xrnn.backends import cupy as adapter
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.choice import Candidate, candidates, choose

OPERATIONS: Final = ("forward", "train")
HIDDEN: Final = (64, 128, 256, 512, 1024, 2048)
BATCHES: Final = (1, 4, 16, 64, 256)
CASES: Final = tuple(Case(50, N, H, H) for H in HIDDEN for N in BATCHES)
REHEARSED: Final = (Case(3, 3, 5, 20),)
GROUPS: Final = 3  # layouts of a group, those predicted to be the fastest
TF32_TOLERANCE: Final = 3e-2  # ten bits of a factor, through fifty steps


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


def usable(backend: CupyBackend, case: Case) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Plain, every one-block and the most promising groups → by label; why some are not used."""
    found = candidates(backend.launcher.device(), np.dtype("float32"), case.T, case.N, case.D, case.H)
    groups = sorted((c for c in found if c.form == "group"), key=lambda c: c.seconds)[:GROUPS]
    used, refused = {}, {}
    for candidate in [*(c for c in found if c.form != "group"), *groups]:
        if why := None if candidate.form == "plain" else _against(backend, candidate, case.H):
            refused[label(candidate)] = why
        else:
            used[label(candidate)] = candidate
    return used, refused


def chosen_of(backend: CupyBackend, case: Case, used: Mapping[str, Candidate]) -> str:
    """What the selection takes."""
    chosen = label(choose(backend.launcher.device(), np.dtype("float32"), case.T, case.N, case.D, case.H))
    return chosen if chosen in used else "plain"


def ours(backend: CupyBackend, problem: Problem, used: Mapping[str, Candidate]) -> dict[str, Contestant]:
    """The layer, with each of these candidates forced."""
    x, h_prev, dh = (backend.asarray(a) for a in (problem.x, problem.h_prev, problem.dh))
    rnn = xrnn.RNN(*(backend.asarray(a) for a in (problem.Wx, problem.Wh, problem.b)))

    def train() -> tuple[Any, ...]:
        h = rnn.forward(x, h_prev)
        return h, *rnn.backward(dh), *rnn.grads

    longer = backend.xp.concatenate([x, x])
    calls: dict[str, Call] = {"forward": lambda: rnn(x, h_prev), "train": train, "longer": lambda: rnn(longer, h_prev)}
    return {
        name: Contestant(calls, lambda candidate=candidate: forced(candidate))  # type: ignore[misc]
        for name, candidate in used.items()
    }


def _against(backend: CupyBackend, candidate: Candidate, H: int) -> str | None:
    return next(filter(None, (backend.against(candidate, "float32", H, backward) for backward in (False, True))), None)


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


def checked(
    everybody: Mapping[str, Contestant], operation: str, problem: Problem
) -> tuple[dict[str, float], dict[str, str]]:
    """→ the error of each contestant, and what is wrong with those that are not to be timed."""
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
    return errors, wrong


def in_turn(names: list[str], rounds: int) -> Iterator[str]:
    """Each name once a round, beginning with a different one each time."""
    for turn in range(rounds):
        at = turn % len(names)
        yield from names[at:] + names[:at]


def measure(backend: CupyBackend, case: Case, rounds: int) -> list[dict[str, Any]]:
    """A cell for each operation: times in microseconds, one a round, and what took part."""
    xp, problem = backend.xp, Problem(case, backend=backend)
    used, refused = usable(backend, case)
    everybody = {**ours(backend, problem, used), **theirs(problem)}
    chosen = chosen_of(backend, case, used)
    cells = []
    for operation in OPERATIONS:
        errors, wrong = checked(everybody, operation, problem)
        best = chosen if chosen in errors else "plain"
        device: dict[str, list[float]] = {name: [] for name in errors}
        host: dict[str, list[float]] = {name: [] for name in errors}
        for name in in_turn([*errors], rounds):
            with everybody[name].context():
                times = microseconds(xp, everybody[name].calls[operation])
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
                longer = everybody[best].calls["longer"]
                cell["longer_microseconds"] = [microseconds(xp, longer)[0] for _ in range(rounds)]
        cells.append(cell)
    return cells


def compete(backend: CupyBackend, cases: Sequence[Case], seconds: float, rounds: int, out: Path) -> dict[str, Any]:
    """All cases that fit into `seconds`, as `forms` in the file `out`, which grows case by case."""
    about = {"dtype": "float32", "rounds": rounds, "device": asdict(backend.launcher.device())}
    return results.case_by_case(out, "forms", about, cases, seconds, lambda case: measure(backend, case, rounds))


def options_of(name: str, description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Of a command that measures case by case."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.gpu.{name}", description=description)
    parser.add_argument("out", type=Path, help="the JSON file to add to")
    parser.add_argument(
        "--seconds", type=float, default=600, help="what is left then is dropped (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--cases", default="", help="only the cases whose name contains this, such as N16-D256")
    parser.add_argument("--rehearse", action="store_true", help="tiny cases, to try the program out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of("forms", "all forms, beside cuDNN", arguments)
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    cases = [case for case in (REHEARSED if options.rehearse else CASES) if options.cases in case.name]
    # Its own start and end take some of the time that it was given.
    found = compete(backend, cases, options.seconds - 15, options.rounds, options.out)
    return int(bool(found["failed"]))


if __name__ == "__main__":
    raise SystemExit(main())
