"""Any file is read or refused; `python -m tests.fuzz_files` tries more files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz_files.__main__ import FOREIGN, SUBJECTS, run


@pytest.mark.parametrize("kind", SUBJECTS)
def test_files_are_read_as_written_or_refused(tmp_path: Path, kind: str) -> None:
    outcomes = run(kind, tmp_path, seed=0, files=75)
    assert outcomes["damaged and refused"] > 35
    assert outcomes["forged and refused"] > 15
    assert outcomes["forged and read"] > 0  # harmless changes, such as another weight
    assert not list(tmp_path.iterdir())


@pytest.mark.needs("torch", "torch")
@pytest.mark.needs("onnx", "onnx")
@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    outcomes = run(kind, tmp_path, seed=0, files=100)
    assert outcomes["changed and refused"] > 50
    assert outcomes["changed and read"] > 0
    assert not list(tmp_path.iterdir())
