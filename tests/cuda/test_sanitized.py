"""The kernels under ThreadSanitizer, AddressSanitizer and UBSan in the emulator; and that these notice broken ones."""

from __future__ import annotations

import pytest

from tests.cuda.broken import KERNELS, Broken, applies, barriers, broken, outcome_of
from tests.cuda.emulated import Job, Problem
from tests.cuda.variants import Variant, variants
from tests.cuda_emulator.module import Sanitizer
from xrnn.backends.cupy import choice

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("emulator")]

# What a thread keeps in registers changes the length of two loops, and nothing that is shared.
SANITIZED = [variant for variant in variants() if variant.kept == 16]
BROKEN = [(case, variant) for variant in KERNELS for case in broken(variant.form) if applies(case, variant)]


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
@pytest.mark.parametrize("variant", SANITIZED, ids=str)
def test_sanitizers_find_nothing(variant: Variant, sanitizer: Sanitizer) -> None:
    for problem in (Problem(), Problem(T=3, N=7, H=24, columns=12, relu=True)):
        assert outcome_of(Job(variant, problem, sanitizer=sanitizer)) == "clean"


@pytest.mark.parametrize(("case", "variant"), BROKEN, ids=[f"{variant}: {case.what}" for case, variant in BROKEN])
def test_a_broken_kernel_is_noticed(case: Broken, variant: Variant) -> None:
    assert outcome_of(case.job(variant)) == case.expected


@pytest.mark.parametrize("form", choice.KEPT)
def test_each_barrier_is_removed_in_turn(form: str) -> None:
    assert len(barriers(form)) == 3
    assert len({case.edit for case in broken(form) if case.what.startswith("no barrier")}) == 3
