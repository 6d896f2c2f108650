"""The benchmark of several processes, at a tiny size, and its cost model."""

from __future__ import annotations

from benchmarks import parallel


def test_the_cost_model() -> None:
    assert parallel.seconds_of_mean(2, 1000, 0, 1000) == 1
    assert parallel.seconds_of_mean(4, 1000, 1, 1000) == 6 + 1.5
    assert parallel.seconds_of_mean(1024, 0, 1, 1) == 30
