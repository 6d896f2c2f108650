"""Every form of each cell's recurrence beside cuDNN: `python -m benchmarks.gpu.forms FILE [--seconds S]`.

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
from typing import Any, Final, TypeAlias
from unittest import mock

import numpy as np

import xrnn
from benchmarks.cases import COMMON, GATES, LAYERS, Case, Problem, check
from benchmarks.gpu import results
from benchmarks.gpu.timing import microseconds
from benchmarks.peers import Call
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Candidate, Request, candidates, choose
from xrnn.ops.cell import Cell

OPERATIONS: Final = ("forward", "train")
HIDDEN: Final = (64, 128, 256, 512, 1024, 2048)
BATCHES: Final = (1, 4, 16, 64, 256)
# Should time run out: the Elman cell, then LSTM and GRU at fewer sizes, then ragged batches.
CASES: Final = (
    *(Case(50, N, H, H) for H in HIDDEN for N in BATCHES),
    *(Case(50, N, H, H, cell=cell) for cell in ("lstm", "gru") for H in HIDDEN[:5] for N in (1, 16, 64)),
    *(Case(50, N, H, H, cell="lstm", ragged=True) for H in (256, 512) for N in (16, 64)),
    *(Case(50, N, H, H, cell="leak") for H in (256, 512) for N in (1, 64)),
)
REHEARSED: Final = (Case(3, 3, 5, 20), Case(3, 3, 5, 20, cell="lstm"))
Pair: TypeAlias = tuple[Candidate, Candidate]  # forward, backward
GROUPS: Final = 3  # layouts of a group, those predicted to be the fastest
TF32_TOLERANCE: Final = 3e-2  # ten bits of a factor, through fifty steps


@contextmanager
def forced(forward: Candidate, backward: Candidate) -> Iterator[None]:
    """Within the block the recurrence takes these, whatever the selection says. No self-test runs."""

    def decide(backend: CupyBackend, kernel: Any, cell: Any, inputs: Any, *, backward: bool) -> Candidate:
        return pair[backward]

    pair = forward, backward
    with mock.patch.object(CupyBackend, "_decide", decide):
        yield


def cell_of(name: str) -> Cell:
    """The cell of a benchmark's cell name."""
    gates, bias = GATES[name]
    cell: Cell = LAYERS[name](*(np.zeros(shape, "float32") for shape in ((1, gates), (1, gates), (bias,)))).cell
    return cell


def requests_of(case: Case) -> tuple[Request, Request]:
    """Forward and backward."""
    kernel = NAMED[case.cell]
    forward, backward = (Request(kernel, way, "float32", *case.sizes) for way in (False, True))
    return forward, backward


@dataclass(frozen=True)
class Contestant:
    """Calls by operation, made within `context`."""

    calls: dict[str, Call]
    context: Callable[[], AbstractContextManager[Any]]
    tolerance: float = 1e-4


def label(candidate: Candidate) -> str:
    """As in the results: `stepwise`, `one-block rows=2`, `group 16x8 rows=4`."""
    if candidate.layout is None:
        return candidate.form
    grid = "" if candidate.form == "one-block" else f" {candidate.grid[0]}x{candidate.grid[1]}"
    return f"{candidate.form}{grid} rows={candidate.layout.rows}"


def usable(backend: CupyBackend, case: Case) -> tuple[dict[str, Pair], dict[str, str]]:
    """Stepwise, every one-block and the most promising groups → by label; why some are not used.

    Each form of forward is paired with the chosen backward, and each other form of backward with the chosen forward.
    """
    found = [_promising(backend, request) for request in requests_of(case)]
    chosen = chosen_pair(backend, case)
    named = {label(c): (c, chosen[1]) for c in found[0]}
    named |= {f"{label(chosen[0])} + {label(c)}": (chosen[0], c) for c in found[1] if c.form != chosen[1].form}
    used, refused = {}, {}
    for name, pair in named.items():
        if why := _against(backend, case, pair):
            refused[name] = why
        else:
            used[name] = pair
    return used, refused


def _promising(backend: CupyBackend, request: Request) -> list[Candidate]:
    found = sorted(candidates(backend.launcher.device(), request), key=lambda c: c.seconds)
    groups = [c for c in found if c.form == "group"]
    partial = [c for c in found if c.form == "group-partial"]
    return [c for c in found if c.form in ("stepwise", "one-block")] + groups[:GROUPS] + partial[:1]


def chosen_pair(backend: CupyBackend, case: Case) -> Pair:
    forward, backward = (choose(backend.launcher.device(), request) for request in requests_of(case))
    return forward, backward


def chosen_of(backend: CupyBackend, case: Case, used: Mapping[str, Pair]) -> str:
    """The label of the selection's choice."""
    chosen = label(chosen_pair(backend, case)[0])
    return chosen if chosen in used else "plain"


def ours(backend: CupyBackend, problem: Problem, used: Mapping[str, Pair]) -> dict[str, Contestant]:
    """The layer in the plain form, and with each of these pairs forced."""
    calls = _calls(backend, problem)
    found = {"plain": Contestant(calls, lambda: xrnn.use_fused(False))}
    return found | {
        name: Contestant(calls, lambda pair=pair: forced(*pair))  # type: ignore[misc]
        for name, pair in used.items()
    }


def _calls(backend: CupyBackend, problem: Problem) -> dict[str, Call]:
    x, dh, *initial = (backend.asarray(a) for a in (problem.x, problem.dh, *problem.states))
    layer = LAYERS[problem.case.cell](*(backend.asarray(w) for w in problem.weights))
    lengths = None if problem.lengths is None else backend.asarray(problem.lengths.astype("int32"))
    longer = backend.xp.concatenate([x, x])

    def first(states: Any) -> Any:
        return states[0] if isinstance(states, tuple) else states

    def train() -> tuple[Any, ...]:
        h = first(layer.forward(x, *initial, lengths=lengths))
        return h, *layer.backward(dh), *layer.grads

    return {
        "forward": lambda: first(layer(x, *initial, lengths=lengths)),
        "train": train,
        "longer": lambda: first(layer(longer, *initial, lengths=lengths)),
    }


def _against(backend: CupyBackend, case: Case, pair: Pair) -> str | None:
    cell = cell_of(case.cell)
    for candidate, request in zip(pair, requests_of(case), strict=True):
        why, _ = backend.selftest.failure(candidate, request.cell, cell, request.backward, request.dtype, request.H)
        if why is not None:
            return str(why)
    return None


def theirs(problem: Problem) -> dict[str, Contestant]:
    """PyTorch's layer without and with TF32; nothing for a cell that it doesn't have, or without its GPU."""
    if importlib.util.find_spec("torch") is None or problem.case.cell not in COMMON:
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
            "candidates": {name: [asdict(c) for c in pair] for name, pair in used.items()},
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
