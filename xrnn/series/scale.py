"""The scale of the channels: their means and deviations over the training series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from xrnn.typing import HostArray

_ROUNDING: Final = 1e-9  # a channel is constant if its deviation is below this share of its largest value
_FAR: Final = 1e6  # values are clipped to this number of deviations, so that the model does not overflow float32


def deviation_of(values: HostArray, axis: int | None = None) -> HostArray:
    """The standard deviation of values, without NaN.

    Squares of numbers below 1e-160 are 0 in float64. Scaling by a power of two avoids this without rounding.
    """
    _, exponent = np.frexp(np.nanmax(np.abs(values), axis=axis))
    return np.ldexp(np.nanstd(np.ldexp(values, -exponent), axis=axis), exponent)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """y = (x - mean) / deviation by channel, with mean 0 and deviation 1 over the series to train on.

    A missing value is replaced by the last value before it, or by the mean if there is none. Later values are not used,
    so a stream gives the same result.

    mean, deviation   (D,) float64
    """

    mean: HostArray
    deviation: HostArray

    @classmethod
    def of(cls, series: Iterable[HostArray]) -> Self:
        """The scale computed from series (T, D), NaN for a missing value.

        A constant channel gets the deviation 1, and a channel without any value the mean 0 too.
        """
        steps = np.concatenate(list(series))
        steps = np.where(np.isnan(steps).all(axis=0), 0.0, steps)
        mean = np.nanmean(steps, axis=0)
        deviation = deviation_of(steps, axis=0)
        return cls(mean, np.where(deviation > _ROUNDING * np.nanmax(np.abs(steps), axis=0), deviation, 1.0))

    def apply(self, values: HostArray) -> HostArray:
        """values (T, D), NaN for a missing value → (T, D) float32."""
        last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))[:, None]))
        filled = np.take_along_axis(values, last, axis=0)
        with np.errstate(over="ignore"):  # infinity is clipped
            scaled = (np.where(np.isnan(filled), self.mean, filled) - self.mean) / self.deviation
        return scaled.clip(-_FAR, _FAR).astype(np.float32)
