"""The kernels under ThreadSanitizer, AddressSanitizer and UBSan in the emulator; and that these notice broken ones."""

from __future__ import annotations

import pytest

from tests.cuda.broken import CASES, CLEAN, HEADS, Broken, outcome_of, problems_of
from tests.cuda.emulated import Job
from tests.cuda_emulator.module import Sanitizer
from xrnn.backends.cupy.launch import Variant

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("emulator")]


@pytest.mark.parametrize(("variant", "sanitizer"), CLEAN, ids=str)
def test_sanitizers_find_nothing(variant: Variant, sanitizer: Sanitizer) -> None:
    # A schedule decides which accesses race. It does not decide where they go.
    seeds = (0, 5) if sanitizer == "thread" else (0,)
    problems = (*problems_of(variant), HEADS) if variant.tiled else problems_of(variant)
    assert outcome_of(Job(variant, problems, seeds, sanitizer)) == "clean"


@pytest.mark.parametrize(("variant", "case"), CASES, ids=[f"{variant}: {case.what}" for variant, case in CASES])
def test_a_broken_kernel_is_noticed(variant: Variant, case: Broken) -> None:
    # Under some schedules a race gives a wrong result before the sanitizer has seen both accesses.
    assert outcome_of(case.job(variant)) in (case.expected, *["wrong"] * (case.expected == "race"))
