"""Fused and plain agree for random operands. `python -m tests.ops.fuzz` runs more cases."""

from __future__ import annotations

from tests.ops import fuzz


def test_fused_and_plain_agree() -> None:
    fuzz.fuzz(cases=60)
