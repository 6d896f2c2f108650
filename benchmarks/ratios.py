"""How much faster, and how sure: the arithmetic of the comparison.

Times come as one number a round; the rounds of two libraries belong together, since they ran side by side.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """Theirs over ours, round by round: above 1 we are ahead."""

    median: float
    low: float  # quartiles over the rounds
    high: float

    @property
    def verdict(self) -> str:
        """ "ahead" or "behind" where the quartiles agree, else "tie"."""
        return "ahead" if self.low > 1 else "behind" if self.high < 1 else "tie"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    low, median, high = quartiles([b / a for a, b in zip(ours, theirs, strict=True)])
    return Ratio(median, low, high)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower one, the median and the upper one; of a single value, that value."""
    if len(values) < 2:
        return (values[0],) * 3
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def fastest(times: Mapping[str, Sequence[float]]) -> str:
    """The library with the lowest median."""
    return min(times, key=lambda name: statistics.median(times[name]))


def share(flops: int, times: Sequence[float], ceiling: Sequence[float]) -> float:
    """The median over the rounds of rate / ceiling; times in microseconds, ceiling in GFLOP/s."""
    return statistics.median(gflops(flops, t) / top for t, top in zip(times, ceiling, strict=True))


def gflops(flops: int, microseconds: float) -> float:
    return flops / microseconds * 1e-3
