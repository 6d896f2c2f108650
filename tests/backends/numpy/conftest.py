"""Fixtures for the compiled kernels: every instruction-set level of this CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.built import NOT_BUILT
from xrnn.backends.numpy import kernels

LEVELS = kernels.levels() if kernels else []
# The level `amx-emulated` exists in the builds of `make test`. It runs the code of tile registers (AMX) on any CPU.
EMULATED = kernels.emulated_levels() if kernels else []


@pytest.fixture(autouse=True)
def _built() -> None:
    if not kernels:
        pytest.skip(NOT_BUILT)


def on_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs on the level that the parameter names, with tiles in every size if the level has them."""
    before = kernels.level()
    kernels.set_level(request.param)
    kernels.force_products(True)
    yield request.param
    kernels.force_products(False)
    kernels.set_level(before)


level = pytest.fixture(on_level, params=LEVELS, name="level")
