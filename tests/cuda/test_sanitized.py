"""The kernels under ThreadSanitizer, AddressSanitizer and UBSan in the emulator; and that these report broken ones."""

from __future__ import annotations

import itertools
from typing import Final

import pytest

from tests.cuda.emulated import LENGTHS, Job, Problem, several_warps
from tests.cuda_emulator.module import Sanitizer
from xrnn.backends.cupy import choice
from xrnn.backends.cupy.launch import Variant, variants

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("emulator")]

SANITIZERS: Final[tuple[Sanitizer, ...]] = ("thread", "address,undefined")
# Sizes that no tile divides, with lengths and in reverse; at least two helpers an output, and two slices; two heads.
ODD: Final = Problem(lengths=LENGTHS, reverse=True, unaligned=True)
SHARING: Final = Problem(T=4, N=3, H=64, units=6, groups=1, extra=0)
HEADS: Final = Problem(N=2, H=24, heads=2, groups=1)
LONG: Final = (ODD, Problem(T=2 * choice.AHEAD + 1))  # steps whose inputs are requested in the loop
# The kernels that run a complete sequence.
KERNELS: Final = [v for v in variants() if (v.rows, v.held) == (2, 16) or v.form == "scan"]
# Every kernel as it is: in float32 under one sanitizer; in float64, of the cells with the fewest and most states, under
# the other. Group-partial, which has no float64, under both.
CLEAN: Final = [
    (v, s)
    for v, (s, dtype) in itertools.product(KERNELS, zip(SANITIZERS, ("float32", "float64"), strict=True))
    if (v.dtype == dtype or v.form == "group-partial")
    and (dtype == "float32" or v.cell.name in ("rnn", "slstm", "lru"))
]


def problems_of(variant: Variant) -> tuple[Problem, ...]:
    if variant.form == "scan":
        return LONG
    return (ODD, SHARING, several_warps(variant), HEADS) if variant.cooperative else (ODD, HEADS)


@pytest.mark.parametrize(("variant", "sanitizer"), CLEAN, ids=str)
def test_sanitizers_find_nothing(variant: Variant, sanitizer: Sanitizer) -> None:
    # A schedule decides which accesses race. It does not decide where they go.
    done = Job(variant, problems_of(variant), (0, 5) if sanitizer == "thread" else (0,), sanitizer).start()
    assert done.returncode == 0, done.stderr


# Form, a part of its source, the replacement, and the report.
BROKEN: Final = {
    "a barrier too few": ("one-block", "__syncthreads();  // the zeros are in place", "", "data race"),
    "lanes that do not wait for their warp": ("group", "__syncwarp();", ";", "data race"),
    "an ordinary load": (
        "group",
        "if (wanted) v = emulator::load(p);",
        "if (wanted) emulator::look(), v = *p;",
        "data race",
    ),
    "an ordinary store": ("group", "emulator::store(p, value);", "*p = value;", "data race"),
    "a thread beyond the last unit": ("scan", "if (pair >= run.pairs()) return;", "", "heap-buffer-overflow"),
    "unaligned weights": ("one-block", "is_aligned(W)", "true", "misaligned"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_kernel_is_reported(what: str) -> None:
    form, text, replacement, report = BROKEN[what]
    variant = next(v for v in KERNELS if v.form == form and v.dtype == "float32" and not v.backward)
    problems = (*problems_of(variant), Problem(H=24, units=12, unaligned=True))
    done = Job(variant, problems, sanitizer=SANITIZERS[report != "data race"], edits=((text, replacement),)).start()
    # Under some schedules a race gives a wrong result before the sanitizer has seen both accesses.
    assert report in done.stderr or (report == "data race" and "Not equal to tolerance" in done.stderr)
