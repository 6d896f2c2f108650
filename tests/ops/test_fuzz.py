"""Fused and plain agree for random operands. `python -m tests.ops.fuzz` runs more cases."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops import fuzz
from xrnn.backend import fused_forms


def test_fused_and_plain_agree() -> None:
    fuzz.fuzz(cases=60)


def test_a_form_that_disagrees_fails_the_check() -> None:
    def run(spoilt: float) -> fuzz.Results:
        h = np.ones(3)
        h[1] += spoilt if fused_forms().enabled else 0
        return {"h": h}

    fuzz.check(lambda: run(0))
    for spoilt in (1e-9, np.nan, np.inf):
        with pytest.raises(AssertionError, match="h"):
            fuzz.check(lambda spoilt=spoilt: run(spoilt))  # type: ignore[misc]
