"""The sanitizers' driver gets every cell with kernels, in both directions, with and without lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.backends.numpy import driver_file
from tests.reference import CELLS, Problem, problem
from xrnn import get_backend
from xrnn.backends.numpy import kernel_of


def test_every_kernel_is_given() -> None:
    def kernel(cell: str) -> str | None:
        return kernel_of(problem(cell).layer(get_backend("numpy")).cell)

    given = {kernel(cell) for cell in driver_file.WITH_KERNELS if cell != "peephole lstm"}  # its level is for tests
    assert given == {kernel(cell) for cell in CELLS} - {None}


def test_both_directions_with_lengths_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    ways: set[tuple[str, bool, bool]] = set()

    def noted(p: Problem, _: int) -> driver_file.Record:
        ways.add((p.dtype, p.reverse, p.lengths is not None))
        return "", {}, {}

    monkeypatch.setattr(driver_file, "of_recurrence", noted)
    assert list(driver_file.records())
    assert len(ways) == 8


def test_an_array_is_a_line_and_its_float64(tmp_path: Path) -> None:
    record = ("products", {"sizes": (2, 3)}, {"y": np.array([[0.5]], "float32")})
    driver_file.write(tmp_path / "file", [record])
    half, sizes = np.array([0.5]), np.array([2.0, 3.0])
    expected = b"products 1 1\nsizes 2\n" + sizes.tobytes() + b"y 1\n" + half.tobytes() + b"end 0 0\n"
    assert (tmp_path / "file").read_bytes() == expected
