"""`@pytest.mark.proof`: the long checks of the CUDA kernels, which `.ci/proof` requires and other runs skip."""

from __future__ import annotations

import os

import pytest

from tests.cuda_emulator import MISSING

REQUIRED = os.environ.get("XRNN_PROOF") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if REQUIRED:
        return
    for item in items:
        if item.get_closest_marker("proof"):
            item.add_marker(pytest.mark.skip(reason="a long check of the CUDA kernels: .ci/proof runs it"))


@pytest.fixture
def emulator() -> None:
    """The test needs the emulator: a skip where it can't be, a failure where the proof is required."""
    if MISSING and REQUIRED:
        pytest.fail(f"the proof is required (XRNN_PROOF=1), but {MISSING}")
    if MISSING:
        pytest.skip(MISSING)
