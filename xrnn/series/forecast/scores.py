"""The scores of forecasts, and the naive forecasts to compare with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from xrnn.series.forecast.fit import Fit
from xrnn.series.forecast.intervals import Intervals
from xrnn.series.forecast.series import OneSeries, mase_divisor
from xrnn.typing import HostArray


class ForecastScores(NamedTuple):
    """Means over the known values of a series; errors in units of the mean |v[t] - v[t - season]| in training.

    mase       |error| of the median   (Hyndman & Koehler, 2006)
    smape      200 |error| / (|value| + |forecast|), in percent
    coverage   the share of values between the lowest and the highest quantile
    pinball    the loss of the quantiles: q · e for a value that is e above the quantile q, (1 - q) · e for one below
    width      from the lowest to the highest quantile
    steps      the MASE of each step ahead; NaN if no value of the step is known
    """

    mase: float
    smape: float
    coverage: float
    pinball: float
    width: float
    steps: tuple[float, ...]

    @classmethod
    def of(cls, target: HostArray, forecast: HostArray, levels: tuple[float, ...], unit: float) -> ForecastScores:
        """target (N, F), NaN for a missing value; forecast (N, F, Q)."""
        exists, median = ~np.isnan(target), forecast[..., levels.index(0.5)]
        error, size = np.abs(target - median), np.abs(target) + np.abs(median)
        relative = np.divide(200 * error, size, out=np.zeros_like(error), where=size > 0)
        inside = (forecast[..., 0] <= target) & (target <= forecast[..., -1])
        above, q = target[..., None] - forecast, np.array(levels)
        pinball = np.maximum(q * above, (q - 1) * above).mean(axis=-1)
        width = forecast[..., -1] - forecast[..., 0]
        of_all = (error / unit, relative, inside, pinball / unit, width / unit)
        count = exists.sum(axis=0)
        steps = tuple((np.nansum(error / unit, axis=0) / np.where(count, count, np.nan)).tolist())
        mase, smape, coverage, of_pinball, of_width = (float(each[exists].mean()) for each in of_all)
        return cls(mase, smape, coverage, of_pinball, of_width, steps)

    @classmethod
    def mean(cls, scores: Sequence[ForecastScores]) -> ForecastScores:
        """The means over series: each series has the same weight."""
        mase, smape, coverage, pinball, width = np.mean([each[:-1] for each in scores], axis=0).tolist()
        steps = tuple(np.mean([each.steps for each in scores], axis=0).tolist())
        return cls(mase, smape, coverage, pinball, width, steps)


def seasonal_naive(values: HostArray, origins: HostArray, horizon: int, season: int) -> HostArray:
    """The last `season` of values (T,), repeated: (N, F)."""
    repeated: HostArray = values[origins[:, None] - season + np.arange(horizon) % season]
    return repeated


def drift(values: HostArray, origins: HostArray, horizon: int) -> HostArray:
    """The line from the first value to the last one before each origin, continued: (N, F)."""
    slope = (values[origins - 1] - values[0]) / np.maximum(origins - 1, 1)
    line: HostArray = values[origins - 1, None] + slope[:, None] * np.arange(1, horizon + 1)
    return line


def with_quantiles(forecast: HostArray, errors: HostArray, levels: tuple[float, ...]) -> HostArray:
    """A forecast (N, F) with the quantiles of its errors in training (n, F), NaN if missing → (N, F, Q)."""
    spread = np.nanquantile(errors, levels, axis=0).T  # (F, Q)
    spread[:, levels.index(0.5)] = 0  # the forecast itself
    quantiles: HostArray = forecast[..., None] + spread
    return quantiles


class Backtest(NamedTuple):
    """The forecasts of the held-out rows of a series, (N, F, Q), from the origins (N,), and the scores by method.

    place   of the series among all;   name: that of the series, with a number if another one has it too
    """

    place: int
    name: str
    series: OneSeries
    origins: HostArray
    forecasts: HostArray
    scores: dict[str, ForecastScores]


def backtests(fit: Fit, intervals: Intervals) -> list[Backtest]:
    """Of each scored series: the forecasts of the model, and its scores beside those of simpler forecasts.

    There is a weekly naive forecast if the season is a day, and all scored series have a week before their first
    forecast.
    """
    F, m, levels = fit.facts.horizon, fit.facts.season, intervals.levels
    scored = [(place, fit.series[place]) for place in fit.scored]
    simpler: dict[str, Callable[[HostArray, HostArray], HostArray]] = {
        "naive": lambda values, at: seasonal_naive(values, at, F, 1),
        "seasonal_naive": lambda values, at: seasonal_naive(values, at, F, m),
        "drift": lambda values, at: drift(values, at, F),
    }
    if all(_is_day(each, m) and each.training_origins[-1] >= 7 * m for _, each in scored):
        simpler["weekly_naive"] = lambda values, at: seasonal_naive(values, at, F, 7 * m)
    results: list[Backtest] = []
    for place, each in scored:
        at, past = each.test_origins, each.training_origins
        forecasts = {"model": intervals.around(each, at)}
        for name, forecast in simpler.items():
            past = past[past >= 7 * m] if name == "weekly_naive" else past
            errors = each.actual(past) - forecast(each.filled, past)
            forecasts[name] = with_quantiles(forecast(each.filled, at), errors, levels)
        actual, unit = each.actual(at), mase_divisor(each.target[: each.cut], m)
        scores = {name: ForecastScores.of(actual, values, levels, unit) for name, values in forecasts.items()}
        unique = _unused(each.name, [other.name for other in results])
        results.append(Backtest(place, unique, each, at, forecasts["model"], scores))
    return results


def _is_day(series: OneSeries, season: int) -> bool:
    """Whether a season of more than one step is a day."""
    times = series.given.times
    one, next_season = times[::season][:2] if times and season > 1 else (0, 0)
    return isinstance(one, datetime) and isinstance(next_season, datetime) and next_season - one == timedelta(days=1)


def mean_scores(tests: Sequence[Backtest]) -> dict[str, ForecastScores]:
    """By method: the means over series."""
    return {name: ForecastScores.mean([each.scores[name] for each in tests]) for name in tests[0].scores}


def _unused(name: str, used: Container[str]) -> str:
    """`name`, with a number if it is used: files may have equal names."""
    names = itertools.chain([name], (f"{name} ({i})" for i in itertools.count(2)))
    return next(each for each in names if each not in used)
