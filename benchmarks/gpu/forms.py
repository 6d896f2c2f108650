"""Every form of each cell's recurrence beside cuDNN: `python -m benchmarks.gpu.forms FILE [--seconds S]`.

All in one process, on one stream. Each result is compared with the plain form in float64 on the device; then a round
measures each form, one after the other. A step is the difference of two sequences, for launches and products with many
rows take a time of their own. The host's part of a call is beside it: where the host is slower than the device, the
events around a call measure the host.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias
from unittest import mock

import numpy as np

import xrnn
from benchmarks.cases import COMMON, Case, Problem, check
from benchmarks.gpu import results
from benchmarks.peers import Call
from benchmarks.peers.xrnn_layer import layer_of, sequence
from benchmarks.processes import rotated
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.cells import NAMED, kernel_of
from xrnn.backends.cupy.choice import Candidate, Request, candidates, choose
from xrnn.backends.cupy.launch import Bound
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import Inputs

OPERATIONS: Final = ("forward", "train")
HIDDEN: Final = (64, 128, 256, 512, 1024, 2048)
BATCHES: Final = (1, 4, 16, 64, 256)


@dataclass(frozen=True, slots=True)
class Lengths:
    """T: of the sequence that is compared with float64, and of the two that are timed, multiples of it."""

    checked: int = 20
    short: int = 200
    long: int = 1000

    def of(self, name: str) -> tuple[int, int]:
        """The two that are timed. The plain form launches some ten kernels a step: fewer steps are enough for it."""
        return (self.checked, min(5 * self.checked, self.long)) if name == "plain" else (self.short, self.long)

    def within(self, case: Case, free: float) -> Lengths:
        """Shorter ones if the arrays of `case`, ours and PyTorch's, would take more than `free` bytes."""
        cell = NAMED[case.cell]
        step = 4 * case.N * case.H * (6 * cell.pre + 4 * cell.states + 8)
        times = min(self.long, int(free / step / (1 + self.short / self.long))) // self.checked
        long = self.checked * max(2, times)
        return replace(self, short=self.checked * max(1, self.short * long // self.long // self.checked), long=long)


LENGTHS: Final = Lengths()
# Should time run out: a middle batch and one row of every hidden size come before the large ones.
CASES: Final = (
    *(
        Case(1000, N, H, H, cell=c)
        for N in (16, 1, 64, 256)
        for H in (512, 256, 1024, 64)
        for c in ("lstm", "gru", "rnn")
    ),
    *(Case(1000, N, 512, 512, cell=cell, ragged=True) for cell in ("lstm", "gru") for N in (16, 64)),
    *(
        Case(1000, N, H, H, cell=cell)
        for cell in ("leak", "slstm", "min-gru", "min-lstm")
        for H in (256, 512)
        for N in (1, 64)
    ),
)
REHEARSED_LENGTHS: Final = Lengths(2, 4, 8)
REHEARSED: Final = tuple(Case(8, 3, 5, 20, cell=cell, ragged=cell == "lstm") for cell in ("rnn", "lstm", "min-gru"))
Pair: TypeAlias = tuple[Candidate, Candidate]  # forward, backward
# How many layouts of each form are measured: the fastest by prediction. None: all.
MEASURED: Final[Mapping[str, int | None]] = {
    "scan": 1,
    "stepwise": 1,
    "one-block": None,
    "group": 3,
    "group-partial": 1,
}
TF32_TOLERANCE: Final = 3e-2  # ten bits of a factor, through many steps
_CALLS: Final = 5  # after one that isn't counted


class Repeated(Problem):
    """A problem whose sequence is another's, several times over."""

    def __init__(self, problem: Problem, times: int) -> None:
        vars(self).update(vars(problem))
        self.case = replace(problem.case, T=times * problem.case.T)
        self.x, self.dh = (np.tile(a, (times, 1, 1)) for a in (problem.x, problem.dh))
        self.lengths = None if problem.lengths is None else problem.lengths * times


def microseconds(xp: Any, call: Call) -> tuple[float, float]:
    """The medians between two events around a call, and on the host until it returns. Each waits for the device."""
    start, end = xp.cuda.Event(), xp.cuda.Event()
    device, host = [], []
    for _ in range(1 + _CALLS):
        end.record()
        end.synchronize()
        start.record()
        before = time.perf_counter()
        call()
        host.append((time.perf_counter() - before) * 1e6)
        end.record()
        end.synchronize()
        device.append(xp.cuda.get_elapsed_time(start, end) * 1e3)
    return statistics.median(device[1:]), statistics.median(host[1:])


@contextmanager
def forced(forward: Candidate, backward: Candidate) -> Iterator[None]:
    """Within the block the recurrence takes these, whatever the selection says. No self-test runs."""

    def decide(backend: CupyBackend, cell: Cell, inputs: Inputs, backward: bool) -> Bound:
        kernel = kernel_of(cell)
        dtype = np.dtype(inputs.x.dtype).name
        assert kernel is not None
        return backend.launcher.bind(pair[backward], Request(kernel, backward, dtype, *inputs.sizes(), inputs.heads()))

    pair = forward, backward
    with mock.patch.object(CupyBackend, "_decide", decide):
        yield


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


def usable(
    backend: CupyBackend, case: Case, most: Mapping[str, int | None] = MEASURED
) -> tuple[dict[str, Pair], dict[str, str], str]:
    """The fastest layouts of each form, `most` of them → by label; why some are not used; the choice's label.

    Each form of forward is paired with the chosen backward, and each other form of backward with the chosen forward.
    """
    device = backend.launcher.device()
    requests = [Request(NAMED[case.cell], backward, "float32", *case.sizes) for backward in (False, True)]
    forward, backward = (choose(device, request) for request in requests)
    found = [_promising(sorted(candidates(device, request), key=lambda c: c.seconds), most) for request in requests]
    named = {label(c): (c, backward) for c in found[0]}
    named |= {f"{label(forward)} + {label(c)}": (forward, c) for c in found[1] if c.form != backward.form}
    used, refused = {}, {}
    for name, pair in named.items():
        tested = [backend.selftest.failure(c, request)[0] for c, request in zip(pair, requests, strict=True)]
        if why := next(filter(None, tested), None):
            refused[name] = why
        else:
            used[name] = pair
    return used, refused, label(forward) if label(forward) in used else "plain"


def _promising(found: list[Candidate], most: Mapping[str, int | None]) -> list[Candidate]:
    return [c for form, number in most.items() for c in [c for c in found if c.form == form][:number]]


def ours(problem: Problem, used: Mapping[str, Pair]) -> dict[str, Contestant]:
    """The layer in the plain form, and with each of these pairs forced."""
    calls = sequence(problem, layer_of(problem))
    found = {name: Contestant(calls, partial(forced, *pair)) for name, pair in used.items()}
    return {"plain": Contestant(calls, partial(xrnn.use_fused, False)), **found}


def theirs(problem: Problem) -> dict[str, Contestant]:
    """PyTorch's layer without and with TF32; nothing for a cell that it doesn't have, or without its GPU."""
    if importlib.util.find_spec("torch") is None or problem.case.cell not in COMMON:
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    from benchmarks.peers import torch_cudnn

    calls = torch_cudnn.build(problem, 1).calls
    return {
        "torch": Contestant(calls, partial(torch_cudnn.tf32, False)),
        "torch tf32": Contestant(calls, partial(torch_cudnn.tf32, True), TF32_TOLERANCE),
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


def free_bytes(backend: CupyBackend) -> int:
    """The device's free memory, without what CuPy and PyTorch have kept of earlier arrays."""
    backend.xp.get_default_memory_pool().free_all_blocks()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()
    return int(backend.xp.cuda.runtime.memGetInfo()[0])


def measure(
    backend: CupyBackend, case: Case, rounds: int, lengths: Lengths = LENGTHS, most: Mapping[str, int | None] = MEASURED
) -> list[dict[str, Any]]:
    """A cell for each operation: microseconds of a step, of a call of the short sequence, and of the host."""
    used, refused, chosen = usable(backend, case, most)
    lengths = lengths.within(case, 0.8 * free_bytes(backend))
    case = replace(case, T=lengths.long)
    problem = Problem(replace(case, T=lengths.checked), backend=backend)
    repeated = {T: Repeated(problem, T // lengths.checked) for T in sorted({*lengths.of("plain"), *lengths.of("")})}
    first, *others = ({**ours(p, used), **theirs(p)} for p in (problem, *repeated.values()))
    timed = dict(zip(repeated, others, strict=True))
    cells = []
    for operation in OPERATIONS:
        errors, wrong = checked(first, operation, problem)
        times: dict[str, dict[int, list[tuple[float, float]]]] = {n: {T: [] for T in lengths.of(n)} for n in errors}
        for name in itertools.chain.from_iterable(rotated([*errors], rounds)):
            for T, found in times[name].items():
                with (contestant := timed[T][name]).context():
                    found.append(microseconds(backend.xp, contestant.calls[operation]))
        steps = {name: _steps(both) for name, both in times.items()}
        cells.append(
            {
                "case": case.name,
                **asdict(case),
                "operation": operation,
                "microseconds": {  # of a call of the short sequence; of the plain form continued by its steps
                    name: [
                        device + (lengths.short - T) * step
                        for (device, _), step in zip(found, steps[name], strict=True)
                    ]
                    for name, both in times.items()
                    for T, found in [min(both.items())]
                },
                "step_microseconds": steps,
                "host_microseconds": {
                    name: {str(T): statistics.median(host for _, host in found) for T, found in both.items()}
                    for name, both in times.items()
                },
                "errors": errors,
                "wrong": wrong,
                "chosen": chosen if chosen in errors else "plain",
                "candidates": {name: [asdict(c) for c in pair] for name, pair in used.items()},
                "not_used": refused,
            }
        )
    return cells


def _steps(times: Mapping[int, Sequence[tuple[float, float]]]) -> list[float]:
    """Of each round: microseconds of one more step, from two lengths."""
    (short, first), (long, second) = sorted(times.items())
    return [(b - a) / (long - short) for (a, _), (b, _) in zip(first, second, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.forms", description="all forms, beside cuDNN")
    parser.add_argument("out", type=Path, help="the JSON file to add to")
    parser.add_argument("--seconds", type=float, default=600, help="what doesn't fit is dropped (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--rehearse", action="store_true", help="tiny cases, to try the program out")
    options = parser.parse_args(arguments)
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    cases, lengths, most = CASES, LENGTHS, MEASURED
    if options.rehearse:
        cases = REHEARSED
        lengths = REHEARSED_LENGTHS
        most = dict.fromkeys(MEASURED, 1)
    about = {"rounds": options.rounds, "lengths": asdict(lengths), "device": asdict(backend.launcher.device())}
    found = results.case_by_case(
        options.out,
        "forms",
        about,
        cases,
        options.seconds - 15,  # its own start and end take some of the time that it was given
        lambda case: measure(backend, case, options.rounds, lengths, most),
    )
    return 1 if found["failed"] else 2 if found["dropped"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
