"""What a step costs on the device, beside cuDNN: `python -m benchmarks.gpu.steps FILE [--seconds S]`.

(time of 1000 steps - time of 200) / 800: what a call costs once falls out, Python's part of it as well, as long as the
host has handed over a whole call before the device ends it. It has not where every step is launched from Python, as in
the plain form: there this is the host's time a step, which is what a step costs a user. The host's own is beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import xrnn
from benchmarks.cases import Case, Problem
from benchmarks.gpu import results
from benchmarks.gpu.forms import (
    OPERATIONS,
    Contestant,
    checked,
    chosen_of,
    in_turn,
    options_of,
    ours,
    theirs,
    usable,
)
from benchmarks.gpu.timing import microseconds
from xrnn.backends.cupy import CupyBackend

HIDDEN: Final = (512, 256, 1024, 64)
BATCHES: Final = (16, 1, 64, 256)


@dataclass(frozen=True, slots=True)
class Lengths:
    """T: of the sequence that is compared with float64, and of the two that are timed, multiples of it."""

    checked: int = 20
    short: int = 200
    long: int = 1000


LENGTHS: Final = Lengths()
# Should time run out: a middle batch and one row of every hidden size come before the large ones.
_CELLS: Final = ("lstm", "gru", "rnn")
CASES: Final = (
    *(Case(LENGTHS.long, N, H, H, cell=cell) for N in BATCHES for H in HIDDEN for cell in _CELLS),
    *(Case(LENGTHS.long, N, 512, 512, cell=cell, ragged=True) for cell in _CELLS[:2] for N in (16, 64)),
)
REHEARSED_LENGTHS: Final = Lengths(2, 4, 8)
REHEARSED: Final = (Case(8, 3, 5, 20), Case(8, 3, 5, 20, cell="lstm"))
_COLUMNS: Final = {
    "plain": "plain",
    "stepwise": "stepwise",
    "one-block": "one-block",
    "group": "group",
    "cuDNN": "torch",
    "TF32": "torch tf32",
}


class Repeated(Problem):
    """A problem whose sequence is another's, so many times over."""

    def __init__(self, problem: Problem, times: int) -> None:
        self.case = replace(problem.case, T=times * problem.case.T)
        self.x, self.dh = (np.tile(a, (times, 1, 1)) for a in (problem.x, problem.dh))
        self.h_prev, self.c_prev = problem.h_prev, problem.c_prev
        self.Wx, self.Wh, self.b = problem.Wx, problem.Wh, problem.b
        self.lengths = None if problem.lengths is None else problem.lengths * times


def measure(backend: CupyBackend, case: Case, rounds: int, lengths: Lengths = LENGTHS) -> list[dict[str, Any]]:
    """A cell for each operation: microseconds a step, one a round, and the host's for a call."""
    used, refused = usable(backend, case)

    def everybody(problem: Problem) -> Mapping[str, Contestant]:
        return {**ours(backend, problem, used), **theirs(problem)}

    problem = Problem(replace(case, T=lengths.checked), backend=backend)
    first = everybody(problem)
    timed = {T: everybody(Repeated(problem, T // lengths.checked)) for T in (lengths.short, lengths.long)}
    cells = []
    for operation in OPERATIONS:
        errors, wrong = checked(first, operation, problem)
        steps: dict[str, list[float]] = {name: [] for name in errors}
        host: dict[str, dict[int, list[float]]] = {name: {T: [] for T in timed} for name in errors}
        for name in in_turn([*errors], rounds):
            device = {}
            for T, contestants in timed.items():
                with contestants[name].context():
                    device[T], of_host = microseconds(backend.xp, contestants[name].calls[operation])
                host[name][T].append(of_host)
            steps[name].append((device[lengths.long] - device[lengths.short]) / (lengths.long - lengths.short))
        chosen = chosen_of(backend, case, used)
        cells.append(
            {
                "case": case.name,
                **asdict(case),
                "operation": operation,
                "step_microseconds": steps,
                "host_microseconds": {
                    name: {str(T): statistics.median(times) for T, times in by_length.items()}
                    for name, by_length in host.items()
                },
                "errors": errors,
                "wrong": wrong,
                "chosen": chosen if chosen in errors else "plain",
                "candidates": {name: [asdict(c) for c in pair] for name, pair in used.items()},
                "not_used": refused,
            }
        )
    return cells


def lines(found: Mapping[str, Any]) -> list[str]:
    """A line a case and operation: a step of each form's fastest layout and of cuDNN; the host's part of a call."""
    text = [
        f"µs a step, float32, from {found['lengths']['long']} steps less {found['lengths']['short']}; "
        f"host: µs to hand over a call of {found['lengths']['long']}",
        f"{'':31}" + "".join(f" {name:>9}" for name in _COLUMNS) + f"   {'chosen':22} {'host':>9}",
    ]
    for cell in found["cells"]:
        medians = {name: statistics.median(rounds) for name, rounds in cell["step_microseconds"].items()}
        columns = ""
        for form in _COLUMNS.values():
            own = [m for name, m in medians.items() if name == form or name.startswith(f"{form} rows")]
            own += [m for name, m in medians.items() if form == "group" and name.startswith("group ")]
            columns += f" {min(own):9.2f}" if own else f" {'-':>9}"
        host = cell["host_microseconds"][cell["chosen"]][str(found["lengths"]["long"])]
        text.append(f"{cell['case']:22} {cell['operation']:8}{columns}   {cell['chosen']:22} {host:9.1f}")
    text += [f"{case} failed: {why}" for case, why in found["failed"].items()]
    if found["dropped"]:
        text.append(f"no time was left for {', '.join(found['dropped'])}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of("steps", "a step of every form on the device, beside cuDNN", arguments)
    backend = xrnn.get_backend("cupy")
    assert isinstance(backend, CupyBackend)
    cases, lengths = (REHEARSED, REHEARSED_LENGTHS) if options.rehearse else (CASES, LENGTHS)
    about = {"rounds": options.rounds, "lengths": asdict(lengths), "device": asdict(backend.launcher.device())}
    found = results.case_by_case(
        Path(options.out),
        "steps",
        about,
        [case for case in cases if options.cases in case.name],
        options.seconds - 15,  # its own start and end take some of the time that it was given
        lambda case: measure(backend, case, options.rounds, lengths),
    )
    print("\n".join(lines(found)))
    return int(bool(found["failed"]))


if __name__ == "__main__":
    raise SystemExit(main())
