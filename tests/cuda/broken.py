"""The kernels under the sanitizers in the emulator, and kernels broken on purpose, which must be noticed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tests.cuda.emulated import LENGTHS, Job, Problem, several_warps
from tests.cuda_emulator.module import Sanitizer
from xrnn.backends.cupy import choice
from xrnn.backends.cupy.launch import Variant, variants

Outcome: TypeAlias = Literal["clean", "race", "wrong", "overflow", "misaligned"]
SANITIZERS: Final[tuple[Sanitizer, ...]] = ("thread", "address,undefined")
# Sizes that no tile divides, with lengths and in reverse; at least two helpers an output, and two slices; two heads.
ODD: Final = Problem(lengths=LENGTHS, reverse=True, unaligned=True)
SHARING: Final = Problem(T=4, N=3, H=64, units=6, groups=1, extra=0)
HEADS: Final = Problem(N=2, H=24, heads=2, groups=1)
LONG: Final = (ODD, Problem(T=2 * choice.AHEAD + 1))  # steps whose inputs are requested in the loop
# The kernels that run a complete sequence.
KERNELS: Final = [v for v in variants() if (v.rows, v.held) == (2, 16) or v.form == "scan"]
_BARRIER: Final = re.compile(r"^(?! *//).*?((?:__syncthreads(?:_or)?|tile\.meet)\(.*)", re.MULTILINE)


def problems_of(variant: Variant) -> tuple[Problem, ...]:
    if variant.form == "scan":
        return LONG
    return (ODD, SHARING, several_warps(variant)) if variant.cooperative else (ODD,)


def outcome_of(job: Job) -> Outcome:
    """The verdict of the sanitizer, the emulator or the comparison with float64. Raises RuntimeError for others."""
    done = job.start()
    for outcome, status, words in (
        ("clean", 0, ""),
        ("race", 66, "ThreadSanitizer: data race"),
        ("overflow", 67, "heap-buffer-overflow"),
        ("wrong", 1, "Not equal to tolerance"),
        ("misaligned", 1, "misaligned"),
        ("misaligned", 68, "misaligned address"),
    ):
        if done.returncode == status and words in done.stderr:
            return outcome  # type: ignore[return-value]
    raise RuntimeError(f"{job.variant} ended with {done.returncode}:\n{done.stderr}")


@dataclass(frozen=True)
class Broken:
    """A kernel with one part of its source removed or replaced, and the report of a sanitizer that is expected."""

    what: str
    edit: tuple[str, str]
    expected: Outcome
    problems: tuple[Problem, ...] | None = None

    def job(self, variant: Variant) -> Job:
        problems = problems_of(variant) if self.problems is None else self.problems
        return Job(variant, problems, sanitizer=SANITIZERS[self.expected != "race"], edits=(self.edit,))


def barriers(variant: Variant) -> list[str]:
    """The statements of the kernel's own file that wait for other threads, from there to the end of the line."""
    return _BARRIER.findall(variant.source[variant.source.rindex("#line") :])


def broken(variant: Variant) -> Iterator[Broken]:
    """Each barrier of the kernel removed in turn, and accesses that race, go too far or are not aligned.

    .ci/planted.py plants defects that show in the values.
    """
    if not variant.tiled:
        yield Broken("a thread beyond the last unit", ("if (pair >= run.pairs()) return;", ""), "overflow")
        return
    for line in barriers(variant):
        what = line.partition("//")[2].partition(",")[0].strip() or "operands in place"
        rest = line.replace("__syncthreads_or", "bool").replace("__syncthreads();", "").replace("tile.meet();", "")
        yield Broken(f"no barrier: {what}", (line, rest), "race")
    if not variant.backward:
        yield Broken("no barrier: the zeros are in place", ("__syncthreads();  // the zeros are in place", ""), "race")
    beyond = "i <= ROWS * slices * g.pitch + slices * ROWS * g.column_threads * kVector + int(blockDim.x);"
    yield Broken("a write beyond shared memory", ("i < ROWS * slices * g.pitch;", beyond), "overflow")
    unaligned = (Problem(H=24, units=12, unaligned=True),)
    yield Broken("unaligned weights", ("is_aligned(W)", "true"), "misaligned", unaligned)
    if not variant.cooperative:
        return
    if variant.form == "group":
        warps, wide = (several_warps(variant),), (Problem(H=24, units=12),)
        yield Broken("lanes that don't wait for their warp", ("__syncwarp();", ";"), "race", warps)
        yield Broken("one set of sums where there must be two", ("tile.other = tile.size();", ";"), "race", warps)
        load = ("wanted; ++e) v[e] = emulator::load(p + e);", "wanted; ++e) emulator::look(), v[e] = p[e];")
        yield Broken("an ordinary load of 16 bytes", load, "race", wide)
    if not variant.backward:
        yield Broken("an unaligned h_prev", ("whole && is_aligned(given[0])", "whole"), "misaligned", unaligned)
    load = ("if (wanted) v = emulator::load(p);", "if (wanted) emulator::look(), v = *p;")
    yield Broken("an ordinary load", load, "race")
    yield Broken("an ordinary store", ("emulator::store(p, value);", "*p = value;"), "race")


def dealt() -> Iterator[tuple[Variant, Broken]]:
    """Each broken kernel, for one of the cells in turn."""
    for form, backward in dict.fromkeys((v.form, v.backward) for v in KERNELS):
        cells = [v for v in KERNELS if (v.form, v.backward, v.dtype) == (form, backward, "float32")]
        for turn, cases in enumerate(zip(*map(broken, cells), strict=True)):
            yield cells[turn % len(cells)], cases[turn % len(cells)]


CASES: Final = [*dealt()]
# Every kernel as it is: in float32 under one sanitizer; in float64, of the cells with the fewest and most states, under
# the other. Group-partial, which has no float64, under both.
CLEAN: Final = [
    (v, s)
    for v, (s, dtype) in itertools.product(KERNELS, zip(SANITIZERS, ("float32", "float64"), strict=True))
    if (v.dtype == dtype or v.form == "group-partial")
    and (dtype == "float32" or v.cell.name in ("rnn", "slstm", "lru"))
]
