"""The contexts that forecasts are made from, scaled by their own values:

z = (v - level) / scale,   level = mean of the last season,   scale = standard deviation of the context
"""

from __future__ import annotations

from typing import Final

import numpy as np

from xrnn.typing import HostArray

FAR: Final = 1e3  # scales from the level: values are clipped here, so that one outlier does not decide the linear part
LARGEST: Final = 700.0  # the exponential of more is infinite in float64
_REACH: Final = 3.0  # usual changes that a forecast of logarithms may be outside of the range of its context
_USUAL: Final = 0.9  # the share of the changes in a context that are smaller


def contexts(values: HostArray, origins: HostArray, C: int, season: int, least: float) -> tuple[HostArray, ...]:
    """The contexts as z (N, C), their level and scale (N, 1).

    origins   (N,), the places of the first steps to forecast. A context that begins before the series is padded: its
              first season is repeated
    least     the smallest scale
    """
    places = origins[:, None] + np.arange(-C, 0)
    context = values[np.where(places < 0, places % season, places)]
    level = context[:, -season:].mean(axis=1, keepdims=True)
    scale = np.maximum(context.std(axis=1, keepdims=True), least)
    return ((context - level) / scale).clip(-FAR, FAR), level, scale


def ahead(values: HostArray, origins: HostArray, F: int, missing: float = 0.0) -> HostArray:
    """The values (N, F) of the F steps from each origin; `missing` after the last one."""
    padded: HostArray = np.append(values, missing)[(origins[:, None] + np.arange(F)).clip(max=len(values))]
    return padded


def limits_of_logarithms(context: HostArray, unit: float, effect: HostArray) -> tuple[HostArray, HostArray]:
    """The lowest and the highest logarithm that are forecast from contexts (N, C): each (N, F).

    It is the range of the context, widened by three times its usual change over a horizon, or the unit of the series if
    that is larger. Without limits, a last value that is an error, such as 1e30, could be continued as a trend, to a
    number that is not finite.

    effect   (N, F), of the known columns, which the context does not contain
    """
    C, F = context.shape[1], effect.shape[1]
    lag = max(min(F, C // 2), 1)
    changes = np.sort(np.abs(context[:, lag:] - context[:, :-lag]), axis=1)
    usual = changes[:, int(_USUAL * (C - lag - 1))] * F / lag if lag < C else np.zeros(len(context))
    margin = _REACH * np.maximum(usual, unit)
    lowest, highest = context.min(axis=1) - margin, context.max(axis=1) + margin
    return (lowest[:, None] + effect).clip(-LARGEST, LARGEST), (highest[:, None] + effect).clip(-LARGEST, LARGEST)


def fill(values: HostArray, season: int) -> HostArray:
    """values (T,) without NaN: a missing value is that of a season before, else the last one, else the first known."""
    filled = values.copy()
    first = np.flatnonzero(~np.isnan(values))[0]
    filled[:first] = values[first]
    for t in np.flatnonzero(np.isnan(filled)):
        filled[t] = filled[t - season] if t >= season else filled[t - 1]
    return filled
