"""Any ONNX model or state dict is read or refused; `python -m tests.fuzz_files.foreign` tries more files."""

from __future__ import annotations

from pathlib import Path

import onnx  # noqa: F401  (the tests are left out without it)
import pytest
import torch  # noqa: F401

from tests.fuzz_files.foreign import KINDS, run


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    outcomes, _ = run(kind, tmp_path, seed=0, files=100)
    assert outcomes["refused"] > 50
    assert outcomes["read"] > 0  # harmless changes, such as another weight
    assert not list(tmp_path.iterdir())
