"""Exponential smoothing: forecasts of a series from its own last rows.

Each forecast is the weighted mean of two: one by members with a constant trend, one by members with a damped trend or
none. The parameters of the members are fixed. Their weights come from their errors on the rows before the forecast. So
nothing is trained, and a file holds nothing of it.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np

from xrnn.series.progress import each_of
from xrnn.typing import HostArray

_LARGEST_EXPONENT: Final = 700.0  # the exponential of more is infinite in float64
# The constants were chosen on M1 and the 1st, 3rd, 5th … series of M3. On both random halves of these, they agree.
_ROWS: Final = 200  # a forecast reads this number of rows, or eight seasons if they are longer
_SEASONS: Final = 8
_MOST_ROWS: Final = 8 * 168  # read by the members, so that time and memory do not grow with longer seasons
_POWER: Final = 16
_LARGEST_RATIO: Final = 1e15  # of errors: its power is finite
# Errors below this share of the values count as equal: they are rounding, which differs if the values are multiplied.
_ROUNDING: Final = 1e-10
_BEYOND: Final = 1.25  # the factor by which a forecast of logarithms may leave the range of the values
_FEW: Final = 60  # with this number of rows or windows, `confidence` is ½
_FIRST_ROWS: Final = 3  # whose mean is the first level of damped trends
_TESTED: Final = 3  # of the steps ahead: the first, the middle and the last one
_RECENT: Final = 48  # errors that the recurrent part reads
_BLOCK: Final = 32  # forecasts at once, so that their states stay in the cache
_LEVELS: Final = (0.02, 0.1, 0.3, 0.6, 0.98)
_CONSTANT_SHARE: Final = 0.45  # of the members with a constant trend
# Two kinds of members (M, 4): α, β, φ, and the share of the slope of all rows that is a constant trend.
_CONSTANT: Final = [(alpha, 0, 1, share) for alpha in _LEVELS for share in (0.5, 1)]
_DAMPED: Final = [(*each, 0) for each in itertools.product(_LEVELS, (0.02, 0.1, 0.3, 0.6), (0.8, 0.98))]
_NO_TREND: Final = [(alpha, 0, 1, 0) for alpha in _LEVELS]
_MEMBERS: Final = np.array(_CONSTANT + _DAMPED + _NO_TREND)


def with_errors(
    values: HostArray, logs: HostArray | None, origins: HostArray, horizon: int, season: int
) -> tuple[HostArray, HostArray]:
    """The forecasts, and `recent` (N, 48, 2): the errors of forecasts of the last 48 rows, one step ahead.

    recent = sign(e) · log(1 + |e|), for the errors e of the values and of the logarithms, each in units of the mean
    error. Without logarithms, both are those of the values. 0 before the first row.

    With logarithms: (1 - s) · the forecast of the values + s · the exponential of the forecast of the logarithms. s
    depends on r, the error of the second divided by that of the first, and on the number n of rows before the origin:

        s = w t + (1 - t) / 2,   w = 1 / (1 + r¹⁶),   t = n² / (n² + 60²)

    The exponential stays between 4/5 of the smallest value so far and 5/4 of the largest one, or of the forecast of the
    values if that is larger. So a jump or a wrong value is not continued as exponential growth.

    values    (T,), without missing values
    logs      (T,), their logarithms; None if some are not positive
    origins   (N,), at least 1
    """
    y, error, recent = _smoothed(values, origins, horizon, season)
    if logs is None:
        return y, np.stack([recent, recent], axis=2)
    z, relative_error, recent_of_logs = _smoothed(logs, origins, horizon, season)
    level = values.cumsum()[origins - 1] / origins
    t = confidence(origins)
    share = (t * preference(relative_error * level, error) + (1 - t) / 2)[:, None]
    least, most = (each.accumulate(values)[origins - 1, None] for each in (np.minimum, np.maximum))
    y = y.clip(0)
    z = exponential(z).clip(least / _BEYOND, np.maximum(most, y) * _BEYOND)
    return (1 - share) * y + share * z, np.stack([recent, recent_of_logs], axis=2)


def exponential(x: HostArray) -> HostArray:
    """exp(x), finite and above 0 for each x."""
    return np.exp(x.clip(-_LARGEST_EXPONENT, _LARGEST_EXPONENT))


def confidence(n: Any) -> Any:
    """n² / (n² + 60²). On few rows, which of two errors is smaller is mostly chance."""
    return n**2 / (n**2 + _FEW**2)


def preference(error: Any, other: Any) -> Any:
    """1 / (1 + r¹⁶), for the ratio r of two errors: ½ if they are equal, 1 if the first is much smaller."""
    return 1 / (1 + np.minimum(error / np.maximum(other, 1e-300), _LARGEST_RATIO) ** _POWER)


def by_errors(errors: HostArray, rounding: Any) -> HostArray:
    """Weights w ∝ 1 / error¹⁶ with the sum 1: both (…, M).

    rounding   (…, 1) or a number: the size of errors that are rounding only, so that their order is chance
    """
    e = errors + rounding + 1e-300  # not 0
    w: HostArray = (e.min(axis=-1, keepdims=True) / e) ** _POWER
    w /= w.sum(axis=-1, keepdims=True)
    return w


def _smoothed(values: HostArray, origins: HostArray, horizon: int, season: int) -> tuple[HostArray, ...]:
    """The members' mean forecasts (N, F), their mean error (N,), and the recent errors of the mean (N, 48)."""
    forecasts, errors = np.empty((len(origins), horizon)), np.empty(len(origins))
    recent = np.zeros((len(origins), _RECENT))
    detrended = _detrended(values, season)
    order = np.argsort(-origins, kind="stable")  # `_states` needs long ones first

    def smooth(first: int) -> None:
        part = order[first : first + _BLOCK]
        at = origins[part, None]
        rows = min(max(_ROWS, _SEASONS * season), at[0, 0])
        places = at + np.arange(-(-rows // season) * -season, 0)  # whole seasons
        missing = places < 0
        places = places.clip(min=0)
        unknown = missing | (places >= at - season // 2)  # their moving average would need later rows
        seasons = _seasons(np.where(unknown, np.nan, detrended[places]), season)
        x = np.where(missing, np.nan, values[places]) - np.tile(seasons, places.shape[1] // season)
        y, errors[part], e = _average(x[:, -_MOST_ROWS:], horizon)
        forecasts[part] = y + seasons[:, np.arange(horizon) % season]
        recent[part, _RECENT - e.shape[1] :] = e

    each_of(range(0, len(order), _BLOCK), "exponential smoothing", smooth)
    unit = np.maximum(errors, np.abs(recent).max(axis=1) / _LARGEST_RATIO)
    recent /= np.maximum(unit, 1e-300)[:, None]
    return forecasts, errors, np.sign(recent) * np.log1p(np.abs(recent))


def _detrended(values: HostArray, season: int) -> HostArray:
    """values (T,) minus their centred moving average over a season; NaN for half a season at both ends."""
    weights = np.full(season, 1 / season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5] / season
    half = len(weights) // 2
    detrended = np.full(len(values), np.nan)
    if len(values) >= len(weights):
        detrended[half : len(values) - half] = values[half : len(values) - half] - np.convolve(values, weights, "valid")
    return detrended


def _seasons(detrended: HostArray, season: int) -> HostArray:
    """The mean s (N, m) of each phase of detrended rows v (N, R), NaN if unknown, shrunk towards 0: s · max(a / R², 0).

    For n known rows: R² = 1 - Σ (v - s)² / Σ (v - mean)², and a = 1 - (1 - R²) (n - 1) / (n - m) is the adjusted one,
    which is 0 on average if the rows have no season   (after James & Stein, 1961; Miller & Williams, 2003).
    """
    v = detrended.reshape(len(detrended), -1, season)
    known = ~np.isnan(v)
    v = np.where(known, v, 0.0)
    number, n = known.sum(axis=1), known.sum(axis=(1, 2))
    s = v.sum(axis=1) / np.maximum(number, 1)
    s -= s.mean(axis=1, keepdims=True)
    v -= np.where(known, (v.sum(axis=(1, 2)) / np.maximum(n, 1))[:, None, None], 0.0)
    rest = (np.where(known, v - s[:, None], 0.0) ** 2).sum(axis=(1, 2))
    total = (v**2).sum(axis=(1, 2))
    unexplained = np.divide(rest, total, out=np.ones_like(rest), where=total > 0)
    adjusted = 1 - unexplained * (n - 1) / np.maximum(n - season, 1)
    share = np.where(number.all(axis=1), adjusted.clip(0) / np.maximum(1 - unexplained, 1e-300), 0.0)
    return s * share[:, None]


def _average(x: HostArray, horizon: int) -> tuple[HostArray, ...]:
    """Σ w (level + (φ + φ² + … + φʰ) · trend), for each step ahead h: (N, F); Σ w · error + rounding (N,).

    w ∝ 1 / error¹⁶ in each kind of members, with the sum 0.45 for constant trends, 0.55 for others. Also returns the
    values of the last rows (N, up to 48) minus their forecasts one step ahead, with the same w; 0 before the first row.

    x   (N, R), NaN before the first row; those with more rows come first
    """
    levels, trends = _states(x)
    reach = np.cumsum(_MEMBERS[:, 2] ** np.arange(1, horizon + 1)[:, None], axis=0)  # (F, M)
    errors = _errors(x, levels, trends, reach)
    rounding = _ROUNDING * np.nanmax(np.abs(x), axis=1, keepdims=True)
    constant, other = (by_errors(each, rounding) for each in np.split(errors, [len(_CONSTANT)], axis=1))
    w = np.concatenate([_CONSTANT_SHARE * constant, (1 - _CONSTANT_SHARE) * other], axis=1)
    y: HostArray = (w * levels[-1]).sum(axis=1, keepdims=True) + (w * trends[-1]) @ reach.T
    last = slice(-min(_RECENT, x.shape[1]) - 1, -1)
    one_step = np.einsum("rnm,nm->nr", levels[last], w) + np.einsum("rnm,nm->nr", trends[last], w * _MEMBERS[:, 2])
    return y, (w * errors).sum(axis=1) + rounding[:, 0], np.nan_to_num(x[:, -one_step.shape[1] :] - one_step)


def _states(x: HostArray) -> tuple[HostArray, HostArray]:
    """Level and trend before each row, and after the last one: each (R + 1, N, M).

    forecast = level + φ · trend,   level' = forecast + α · error,   trend' = φ · trend + α · β · error

    (Gardner & McKenzie, 1985; in this form: Hyndman et al., 2008). A constant trend is the slope of the rows, or half
    of it, as in Theta (Assimakopoulos & Nikolopoulos, 2000; Fiorucci et al., 2016). A damped one begins with 0.
    """
    alpha, beta, phi, share = _MEMBERS.T
    known = ~np.isnan(x)
    place = known.cumsum(axis=1)
    number = known.sum(axis=1, keepdims=True)
    t = np.where(known, place - (number + 1) / 2, 0.0)
    slope = np.nansum(t * x, axis=1, keepdims=True) / np.maximum((t * t).sum(axis=1, keepdims=True), 0.5)
    first, mean = (np.nanmean(np.where(place <= count, x, np.nan), axis=1, keepdims=True) for count in (1, _FIRST_ROWS))
    trend = share * slope
    level = np.where(share > 0, first - trend, mean)
    levels, trends = (np.empty((x.shape[1] + 1, *level.shape)) for _ in range(2))
    for row, begun in enumerate(known.sum(axis=0)):
        levels[row], trends[row] = level, trend
        damped = phi * trend[:begun]
        forecast = level[:begun] + damped
        error = x[:begun, row, None] - forecast
        level[:begun], trend[:begun] = forecast + alpha * error, damped + alpha * beta * error
    levels[-1], trends[-1] = level, trend
    return levels, trends


def _errors(x: HostArray, levels: HostArray, trends: HostArray, reach: HostArray) -> HostArray:
    """√(e · E) of each member (N, M): e is its mean |error| of one step, E that of some steps ahead.

    The first three rows are not counted, or the first third of them.
    """
    R = x.shape[1]
    known = (~np.isnan(x)).sum(axis=1)
    first = R - known + np.minimum(3, known // 3)
    total = np.zeros(levels.shape[1:])
    count = np.zeros((len(x), 1))
    error_of_one = np.ones(1)
    for h in np.unique(np.linspace(1, len(reach), _TESTED).round().astype(int)):
        rows = max(R - h + 1, 0)
        errors = np.abs(x.T[h - 1 :, :, None] - levels[:rows] - reach[h - 1] * trends[:rows])
        used = np.arange(rows)[:, None] >= first
        total += np.where(used[..., None], errors, 0.0).sum(axis=0)
        count += used.sum(axis=0)[:, None]
        error_of_one = total / np.maximum(count, 1) if h == 1 else error_of_one
    return np.sqrt(error_of_one * total / np.maximum(count, 1))
