"""Channels brought to one scale, and what is missing filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from xrnn.typing import HostArray

_ROUNDING: Final = 1e-9  # a deviation below this share of the channel's largest value is that of a constant
_FAR: Final = 1e6  # deviations from the mean: values are clipped here, so that what follows does not overflow float32


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """y = (x - mean) / deviation, by channel: each has mean 0 and deviation 1 over the series to train on.

    A missing value is the last one before it, or else the mean: a stream, which can't look ahead, gets the same.

    mean, deviation   (D,) float64
    """

    mean: HostArray
    deviation: HostArray

    @classmethod
    def of(cls, series: Iterable[HostArray]) -> Self:
        """The scale of series (T, D), NaN where a value is missing. A channel that never changes is only shifted."""
        steps = np.concatenate(list(series))
        mean, deviation = np.nanmean(steps, axis=0), np.nanstd(steps, axis=0)
        varies = deviation > _ROUNDING * np.nanmax(np.abs(steps), axis=0)
        return cls(mean, np.where(varies, deviation, 1.0))

    def apply(self, values: HostArray) -> HostArray:
        """values (T, D), NaN where one is missing → (T, D) float32."""
        known = ~np.isnan(values)
        last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], 0))
        filled = np.take_along_axis(values, last, axis=0)
        # `of` gives no deviation of 0, but a checkpoint made by another program may hold one.
        deviation = np.where(self.deviation > 0, self.deviation, 1.0)
        scaled = (np.where(np.isnan(filled), self.mean, filled) - self.mean) / deviation
        return scaled.clip(-_FAR, _FAR).astype(np.float32)
