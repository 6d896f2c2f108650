"""Parts of a series, and its mean change."""

from __future__ import annotations

from typing import Final

import numpy as np

from xrnn.typing import HostArray

FAR: Final = 1e3  # scales from the level: values are clipped here, so that one outlier does not decide the linear part
LARGEST: Final = 700.0  # the exponential of more is infinite in float64


def contexts(values: HostArray, origins: HostArray, C: int, season: int, least: float) -> tuple[HostArray, ...]:
    """The contexts that forecasts are made from, scaled by their own values, as z (N, C); their level and scale (N, 1).

    z = (v - level) / scale,   level = mean of the last season,   scale = standard deviation of the context

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


def fill(values: HostArray, season: int) -> HostArray:
    """values (T,) without NaN: a missing value is that of a season before, else the last one, else the first known."""
    filled = values.copy()
    first = np.flatnonzero(~np.isnan(values))[0]
    filled[:first] = values[first]
    for t in np.flatnonzero(np.isnan(filled)):
        filled[t] = filled[t - season] if t >= season else filled[t - 1]
    return filled


def mase_divisor(values: HostArray, season: int) -> float:
    """The mean |v[t] - v[t - season]| of values (T,); NaN for a missing value.

    If it is 0, because the series is strictly periodic, or if no two known values are a season apart: the mean
    |v[t] - v[t - 1]|. NaN if this is 0 or unknown too: the MASE is then undefined.
    """
    for distance in (season, 1):
        changes = np.abs(values[distance:] - values[:-distance])
        changes = changes[~np.isnan(changes)]
        if changes.any():
            return float(changes.mean())
    return np.nan
