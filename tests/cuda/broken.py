"""The kernels under the sanitizers in the emulator, and kernels broken on purpose, which must be noticed.

`python -m tests.cuda.broken` prints the table.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from tests.cuda.emulated import Job, Problem
from tests.cuda.variants import Variant
from tests.cuda_emulator import MISSING
from tests.cuda_emulator.module import Sanitizer
from xrnn.backends.cupy import choice, launch

Outcome: TypeAlias = Literal["clean", "race", "wrong", "livelock", "overflow"]
KERNELS: Final = [
    Variant(form, dtype, 2, 16, backward)
    for form, dtype, backward in itertools.product(choice.KEPT, choice.ROWS, (False, True))
]
_BARRIER: Final = re.compile(r"__syncthreads(?:_or)?\(")


def outcome_of(job: Job) -> Outcome:
    """What the sanitizer, the emulator or the comparison with float64 says. Raises RuntimeError for anything else."""
    done = job.start()
    for outcome, status, words in (
        ("clean", 0, ""),
        ("race", 66, "ThreadSanitizer: data race"),
        ("overflow", 67, "heap-buffer-overflow"),
        ("wrong", 1, "Not equal to tolerance"),
        ("livelock", 1, "livelock"),
    ):
        if done.returncode == status and words in done.stderr:
            return outcome  # type: ignore[return-value]
    raise RuntimeError(f"{job.variant} ended with {done.returncode}:\n{done.stderr}")


@dataclass(frozen=True)
class Broken:
    """A kernel with one part of its source taken away or replaced, and what must come of it."""

    what: str
    form: str
    edit: tuple[str, str]
    expected: Outcome
    problem: Problem = field(default_factory=Problem)
    sanitizer: Sanitizer = "thread"

    def job(self, variant: Variant) -> Job:
        return Job(variant, self.problem, sanitizer=self.sanitizer, edit=self.edit)


def barriers(form: str) -> list[str]:
    """The lines of the source that have a barrier."""
    return [line for line in launch.source(form).splitlines() if _BARRIER.search(line) and line.strip()[:2] != "//"]


def _purpose(line: str) -> str:
    """What the comment behind a barrier says first; the one without is of a group's states."""
    return line.partition("//")[2].partition(",")[0].strip() or "the states are in place"


def _without_barrier(line: str) -> str:
    """The line doing the same without one."""
    return line.replace("__syncthreads_or", "bool") if "_or" in line else line.replace("__syncthreads();", "")


def broken(form: str) -> Iterator[Broken]:
    """Each barrier of the kernel removed in turn, and each other thing that its results rest on."""
    for line in barriers(form):
        yield Broken(f"no barrier: {_purpose(line)}", form, (line, _without_barrier(line)), "race")
    yield Broken("shared memory that is not cleared", form, ("state[i] = 0;", ";"), "wrong")
    too_far = "i <= ROWS * slices * g.pitch + slices * ROWS * g.column_threads * kVector;"
    edit = ("i < ROWS * slices * g.pitch;", too_far)
    yield Broken("a write beyond shared memory", form, edit, "overflow", sanitizer="address,undefined")
    next_step = {"one-block": ("ask(i + 1)", "ask(i)"), "group": ("ask_inputs(i + last,", "ask_inputs(i,")}
    yield Broken("inputs of the wrong step", form, next_step[form], "wrong")
    if form == "group":
        wide = Problem(H=24, columns=12)
        yield Broken("an exchange that doesn't wait", form, ("while (waiting && !gave_up)", "while (false)"), "wrong")
        edit = ("waiting |= missing[e];", "waiting = missing[e];")
        yield Broken("a wait for the last vector only", form, edit, "wrong", problem=Problem(H=150, columns=32, N=2))
        yield Broken("an ordinary store", form, ("emulator::store(p, value);", "*p = value;"), "race")
        load = ("return emulator::load(p);", "return emulator::look(p), *p;")
        yield Broken("an ordinary load", form, load, "race")
        load = ("v[c] = emulator::load(p + c);", "emulator::look(p + c), v[c] = p[c];")
        yield Broken("an ordinary load of 16 bytes", form, load, "race", problem=wide)
        empty = ("is_empty(value) ? nan : value", "value == value ? value : emulator::bits<Real>(~bits_of(Real(0)))")
        yield Broken("a NaN that looks empty", form, empty, "livelock", problem=Problem(spoil=float("nan")))


def applies(case: Broken, variant: Variant) -> bool:
    """Backward's first step reads no states: what clears them is ordered by the next barrier as well."""
    return case.form == variant.form and not (variant.backward and "the zeros are" in case.what)


def table() -> Iterator[str]:
    """A line for each sanitizer and each broken kernel; a column for each direction and dtype."""
    for form in choice.KEPT:
        kernels = [variant for variant in KERNELS if variant.form == form]
        yield _line(form, (f"{'backward' if v.backward else 'forward'} {v.dtype}" for v in kernels))
        sanitizers: tuple[Sanitizer, ...] = ("thread", "address,undefined")
        for sanitizer in sanitizers:
            yield _outcomes(f"as it is, -fsanitize={sanitizer}", [Job(v, sanitizer=sanitizer) for v in kernels])
        for case in broken(form):
            yield _outcomes(case.what, [case.job(v) if applies(case, v) else None for v in kernels])


def _outcomes(what: str, jobs: Iterable[Job | None]) -> str:
    with ThreadPoolExecutor(2) as pool:
        return _line(what, pool.map(lambda job: outcome_of(job) if job else "-", jobs))


def _line(what: str, cells: Iterable[str]) -> str:
    return f"{what:42}" + "".join(f"{cell:>18}" for cell in cells)


if __name__ == "__main__":
    if MISSING:
        sys.exit(MISSING)
    for row in table():
        print(row, flush=True)
