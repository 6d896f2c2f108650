"""The measurement on a busy machine: every part runs."""

from __future__ import annotations

import pytest

pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed (extra `bench`)")


from benchmarks import busy
from tests.built import NOT_BUILT
from xrnn.backends.numpy import kernels

if not kernels:
    pytest.skip(NOT_BUILT, allow_module_level=True)


def test_of_best_takes_ratios_within_a_round() -> None:
    """The second round ran while the machine was slow."""
    rates = {"chosen": [90.0, 45.0, 91.0], "one thread": [100.0, 50.0, 100.0], "2 threads": [1.0] * 3}
    assert busy.of_best(rates) == 0.9
