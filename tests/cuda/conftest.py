"""What the checks of the CUDA kernels need; `.ci/proof` requires it."""

from __future__ import annotations

import os

import pytest

from tests.cuda_emulator import MISSING

REQUIRED = os.environ.get("XRNN_PROOF") == "1"


@pytest.fixture
def emulator() -> None:
    """The test needs the emulator: a skip where it can't be, a failure where the proof is required."""
    if MISSING and REQUIRED:
        pytest.fail(f"the proof is required (XRNN_PROOF=1), but {MISSING}")
    if MISSING:
        pytest.skip(MISSING)
