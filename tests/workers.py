"""With pytest-xdist there is one worker per core, so BLAS uses one thread in each.

The kernels keep their number of threads: some tests check it, and most shapes in the tests use one thread anyway.
"""

from __future__ import annotations

import os

import pytest

_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", default=None):
        for name in _VARIABLES:  # BLAS reads them when a worker imports NumPy
            os.environ.setdefault(name, "1")
