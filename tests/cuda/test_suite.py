"""The C++ kernels as `make gpu-check` builds them: beside the sources, with what this Python has."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu import suite

pytestmark = pytest.mark.proof


def test_the_kernels_are_built_in_the_copy(tmp_path: Path) -> None:
    sources = suite.copy_sources(tmp_path)
    assert suite.build_kernels(sources, tmp_path) == "C++ kernels: built"
    (library,) = (sources / "backends" / "numpy").glob("_kernels*.so")
    assert library.stat().st_size > 0
