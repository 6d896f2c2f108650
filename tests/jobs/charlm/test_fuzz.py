"""No damaged file makes loading fail in any way but its own; `tests/jobs/charlm/fuzz.py` tries as many as one likes."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.charlm import fuzz


def test_damaged_checkpoints_are_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    outcomes = fuzz.run(tmp_path, seed=0, files=400)
    assert outcomes["refused"] > 300
    assert outcomes["loaded"] > 0  # harmless changes, of a weight and its digest: the files are not all nonsense
