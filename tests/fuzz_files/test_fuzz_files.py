"""Any file is read or refused; `python -m tests.fuzz_files` tries more files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz_files.__main__ import SUBJECTS, run


@pytest.mark.parametrize("name", SUBJECTS)
def test_files_are_read_as_written_or_refused(tmp_path: Path, name: str) -> None:
    outcomes = run(SUBJECTS[name], tmp_path, seed=0, files=75)
    assert outcomes["damaged and refused"] > 35
    assert outcomes["forged and refused"] > 15
    assert outcomes["forged and read"] > 0  # harmless changes, such as another weight
    assert not list(tmp_path.iterdir())
