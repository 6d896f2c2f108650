"""Exponential smoothing: forecasts of a series from its own last rows.

Each forecast is an average of members: simple smoothing, Theta and damped trends, with fixed parameters. The weights
come from the members' errors on the rows before the forecast. So nothing is trained, and a file holds nothing of it.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np

from xrnn.typing import HostArray

# The constants were chosen on M1 and the 1st, 3rd, 5th … series of M3.
_ROWS: Final = 200  # the most rows that a forecast reads, or eight seasons
_SEASONS: Final = 8
_MOST_ROWS: Final = 8 * 168  # that the members read, so that time and memory do not grow with longer seasons
_LEAST_R2: Final = 0.2
_POWER: Final = 8
_FIRST_ROWS: Final = 6  # set the first level and slope
_TESTED: Final = 3  # of the steps ahead: the first, the middle and the last one
_BLOCK: Final = 32  # forecasts at once, so that their states stay in the cache
_LEVELS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.98)
_THETA: Final = 0.5  # the share of the slope that Theta keeps
# M members (M, 4): α, β, φ, and the share of the slope with which the trend begins
_MEMBERS: Final = np.array(
    [(alpha, 0, 1, 0) for alpha in _LEVELS]
    + [(alpha, 0, 1, _THETA) for alpha in _LEVELS]
    + [(*each, 1) for each in itertools.product(_LEVELS[::2], (0.02, 0.1, 0.3, 0.6), (0.8, 0.9, 0.98))]
)


def smoothed(values: HostArray, origins: HostArray, horizon: int, season: int) -> HostArray:
    """The forecasts (N, F) of the steps from each origin, from the rows before it.

    values    (T,), without missing values
    origins   (N,), at least 1
    """
    forecasts = np.empty((len(origins), horizon))
    detrended = _detrended(values, season)
    order = np.argsort(-origins, kind="stable")  # `_states` needs long ones first
    for first in range(0, len(order), _BLOCK):
        part = order[first : first + _BLOCK]
        at = origins[part, None]
        rows = min(max(_ROWS, _SEASONS * season), at[0, 0])
        places = at + np.arange(-(-rows // season) * -season, 0)  # whole seasons
        missing, places = places < 0, places.clip(min=0)
        unknown = missing | (places >= at - season // 2)  # their moving average would need later rows
        seasons = _seasons(np.where(unknown, np.nan, detrended[places]), season)
        x = np.where(missing, np.nan, values[places]) - np.tile(seasons, places.shape[1] // season)
        forecasts[part] = _average(x[:, -_MOST_ROWS:], horizon) + seasons[:, np.arange(horizon) % season]
    return forecasts


def _detrended(values: HostArray, season: int) -> HostArray:
    """values (T,) minus their centred moving average over a season; NaN for half a season at both ends."""
    weights = np.full(season, 1 / season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5] / season
    half = len(weights) // 2
    detrended = np.full(len(values), np.nan)
    if len(values) >= len(weights):
        detrended[half : len(values) - half] = values[half : len(values) - half] - np.convolve(values, weights, "valid")
    return detrended


def _seasons(detrended: HostArray, season: int) -> HostArray:
    """The mean s (N, m) of each phase of detrended rows v (N, R), NaN if unknown; 0 if the phases explain too little.

    adjusted R² = 1 - (n - 1) / (n - m) · Σ (v - s)² / Σ (v - mean)² must be above 0.2, for n known rows.
    """
    v = detrended.reshape(len(detrended), -1, season)
    known = ~np.isnan(v)
    v = np.where(known, v, 0.0)
    number, n = known.sum(axis=1), known.sum(axis=(1, 2))
    s = v.sum(axis=1) / np.maximum(number, 1)
    s -= s.mean(axis=1, keepdims=True)
    v -= np.where(known, (v.sum(axis=(1, 2)) / np.maximum(n, 1))[:, None, None], 0.0)
    rest, total = (np.where(known, v - s[:, None], 0.0) ** 2).sum(axis=(1, 2)), (v**2).sum(axis=(1, 2))
    seasonal = number.all(axis=1) & (rest * (n - 1) < (1 - _LEAST_R2) * total * (n - season))
    return np.where(seasonal[:, None], s, 0.0)


def _average(x: HostArray, horizon: int) -> HostArray:
    """Σ w (level + (φ + φ² + … + φʰ) · trend), for each step ahead h: (N, F).

    x   (N, R), NaN before the first row; those with more rows come first
    """
    levels, trends = _states(x)
    reach = np.cumsum(_MEMBERS[:, 2] ** np.arange(1, horizon + 1)[:, None], axis=0)  # (F, M)
    w = _weights(_errors(x, levels, trends, reach))
    y: HostArray = (w * levels[-1]).sum(axis=1, keepdims=True) + (w * trends[-1]) @ reach.T
    return y


def _states(x: HostArray) -> tuple[HostArray, HostArray]:
    """Level and trend before each row, and after the last one: each (R + 1, N, M).

    forecast = level + φ · trend,   level' = forecast + α · error,   trend' = φ · trend + α · β · error

    (Gardner & McKenzie, 1985; in this form: Hyndman et al., 2008). Simple smoothing has no trend (Brown, 1959). Theta
    has a constant one, half the slope of the rows (Assimakopoulos & Nikolopoulos, 2000; Fiorucci et al., 2016).
    """
    alpha, beta, phi, _ = _MEMBERS.T
    level, trend = _first_state(x)
    levels, trends = (np.empty((x.shape[1] + 1, *level.shape)) for _ in range(2))
    for row, begun in enumerate((~np.isnan(x)).sum(axis=0)):
        levels[row], trends[row] = level, trend
        damped = phi * trend[:begun]
        forecast = level[:begun] + damped
        error = x[:begun, row, None] - forecast
        level[:begun], trend[:begun] = forecast + alpha * error, damped + alpha * beta * error
    levels[-1], trends[-1] = level, trend
    return levels, trends


def _first_state(x: HostArray) -> tuple[HostArray, HostArray]:
    """Level and trend before the first row: each (N, M)."""
    share = _MEMBERS[:, 3]
    first, _ = _line(x, 1)
    few, _ = _line(x, 3)
    middle, slope = _line(x, _FIRST_ROWS)
    _, slope_of_all = _line(x, x.shape[1])
    rows = np.minimum((~np.isnan(x)).sum(axis=1, keepdims=True), _FIRST_ROWS)
    trend = share * np.where(share == _THETA, slope_of_all, slope)
    level = np.where(share == _THETA, first - trend, np.where(share, middle - slope * (rows + 1) / 2, few))
    return level, trend


def _line(x: HostArray, count: int) -> tuple[HostArray, HostArray]:
    """The mean and the slope of the first `count` known rows, or of all if there are fewer: each (N, 1)."""
    known = ~np.isnan(x)
    place = known.cumsum(axis=1)
    used = known & (place <= count)
    number = used.sum(axis=1, keepdims=True)
    v, t = np.where(used, x, 0.0), np.where(used, place - (number + 1) / 2, 0.0)
    slope = (t * v).sum(axis=1, keepdims=True) / np.maximum((t * t).sum(axis=1, keepdims=True), 0.5)
    return v.sum(axis=1, keepdims=True) / number, slope


def _errors(x: HostArray, levels: HostArray, trends: HostArray, reach: HostArray) -> HostArray:
    """√(e · E) of each member (N, M): e is its mean |error| of one step, E that of some steps ahead.

    The first three rows are not counted, or the first third of them.
    """
    R = x.shape[1]
    known = (~np.isnan(x)).sum(axis=1)
    first = R - known + np.minimum(3, known // 3)
    total, count, one = np.zeros(levels.shape[1:]), np.zeros((len(x), 1)), np.ones(1)
    for h in np.unique(np.linspace(1, len(reach), _TESTED).round().astype(int)):
        rows = max(R - h + 1, 0)
        errors = np.abs(x.T[h - 1 :, :, None] - levels[:rows] - reach[h - 1] * trends[:rows])
        used = np.arange(rows)[:, None] >= first
        total += np.where(used[..., None], errors, 0.0).sum(axis=0)
        count += used.sum(axis=0)[:, None]
        one = total / np.maximum(count, 1) if h == 1 else one
    return np.sqrt(one * total / np.maximum(count, 1))


def _weights(errors: HostArray) -> HostArray:
    """w ∝ 1 / error⁸: (N, M)"""
    least = errors.min(axis=1, keepdims=True)
    w: HostArray = np.where(least > 0, (least / np.maximum(errors, 1e-300)) ** _POWER, errors == 0.0)
    w /= w.sum(axis=1, keepdims=True)
    return w
