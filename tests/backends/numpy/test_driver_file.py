"""The sanitizers' driver gets every cell with kernels, in both directions, with and without lengths."""

from __future__ import annotations

from tests.backends.numpy import driver_file
from tests.reference import CELLS, problem
from xrnn import get_backend
from xrnn.backends.numpy import kernel_of


def test_every_kernel_is_given() -> None:
    def kernel(cell: str) -> str | None:
        return kernel_of(problem(cell).layer(get_backend("numpy")).cell)

    given = {kernel(cell) for cell in driver_file.WITH_KERNELS if cell != "peephole lstm"}  # its level is for tests
    assert given == {kernel(cell) for cell in CELLS} - {None}
