"""Fixtures for the compiled kernels: every instruction-set level of this CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.needs_kernels import NOT_BUILT
from xrnn.backends.numpy import kernels

LEVELS = kernels.levels() if kernels else []
# The builds of `make test` have two more levels: the code of tile registers (AMX) and of pairs of bfloat16 on any CPU.
_FOR_TESTS = kernels.emulated_levels() if kernels else []
EMULATED = [level for level in _FOR_TESTS if level == "amx-emulated"]


@contextmanager
def at_level(level: str) -> Iterator[None]:
    before = kernels.level()
    kernels.set_level(level)
    try:
        yield
    finally:
        kernels.set_level(before)


def _has_pairs(level: str) -> bool:
    with at_level(level):
        return kernels.products_by(1) == "avx512bf16"


# Under a sanitizer (.ci/sanitize), a call waits for all its threads, however slow they are.
if kernels and "san" in os.environ.get("LD_PRELOAD", ""):
    kernels.hold_threads(True)
# By the CPU's own instruction if it is fast, else emulated.
PAIRS = [level for level in LEVELS if _has_pairs(level)] or [level for level in _FOR_TESTS if level not in EMULATED]


@pytest.fixture(autouse=True)
def _built() -> None:
    if not kernels:
        pytest.skip(NOT_BUILT)


def on_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs on the level that the parameter names, with tiles in every size if the level has them."""
    with at_level(request.param):
        kernels.force_products(True)
        yield request.param
        kernels.force_products(False)


level = pytest.fixture(on_level, params=LEVELS, name="level")
