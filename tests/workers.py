"""Workers of pytest-xdist: there are as many as cores, so BLAS takes one thread in each.

The kernels keep their number of threads: some tests are about it, and most shapes here are too small for a second one.
"""

from __future__ import annotations

import os

import pytest

_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", default=None):
        for name in _VARIABLES:  # BLAS reads them once, when a worker imports NumPy
            os.environ.setdefault(name, "1")
