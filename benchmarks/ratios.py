"""The arithmetic of the comparison.

Each library has one time a round. Ratios are taken round by round, because the libraries ran side by side.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """Their time over ours: above 1, ours is faster."""

    median: float
    low: float  # quartiles over the rounds
    high: float

    @property
    def verdict(self) -> str:
        """ "ahead" or "behind" if both quartiles are on the same side of 1, else "tie"."""
        return "ahead" if self.low > 1 else "behind" if self.high < 1 else "tie"

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    low, median, high = quartiles([b / a for a, b in zip(ours, theirs, strict=True)])
    return Ratio(median, low, high)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return (values[0],) * 3
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def fastest(times: Mapping[str, Sequence[float]]) -> str:
    """The library with the lowest median."""
    return min(times, key=lambda name: statistics.median(times[name]))


def share(flops: int, times: Sequence[float], ceiling: Sequence[float]) -> float:
    """The median over the rounds of rate / ceiling.   times: microseconds; ceiling: GFLOP/s"""
    return statistics.median(gflops(flops, t) / top for t, top in zip(times, ceiling, strict=True))


def gflops(flops: int, microseconds: float) -> float:
    return flops / microseconds * 1e-3
