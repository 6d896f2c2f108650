"""The backtest of `xrnn forecast`: forecasts of held-out rows, and their errors beside those of naive forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from xrnn.series.checks import Series
from xrnn.series.errors import DataError
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.series import OneSeries
from xrnn.series.forecast.windows import fill, mase_divisor
from xrnn.typing import HostArray


class Backtest(NamedTuple):
    """The forecasts of the held-out rows of a series, (N, F, Q), from the origins (N,).

    place    of the series among all
    scores   by method: `mase`, the mean absolute error divided by the mean |v[t] - v[t - season]| in the rows before
             (Hyndman & Koehler, 2006); `steps`, the same of each step ahead; `smape`, the mean of 200 |error| /
             (|value| + |forecast|), in percent. Of the model also `coverage`, the share of values between the lowest
             and the highest quantile, and `pinball`, the mean loss of the quantiles in units of MASE: q · e for a value
             that is e above the quantile q, (1 - q) · e for one below
    """

    place: int
    series: OneSeries
    origins: HostArray
    forecasts: HostArray
    scores: dict[str, dict[str, Any]]


def backtest(series: Sequence[Series], p: Any) -> list[Backtest]:
    """For each series with complete windows in the held-out rows: forecasts by a model of earlier rows, and errors.

    [] if the rows before are too few, missing or equal. There is a weekly naive forecast if the season is a day, and
    all these series have a week before their first forecast.
    """
    try:
        ones = fit_series(series, p, held_out=True)
    except DataError:
        return []
    model = ones[0].model
    tests = [(place, each, *each.held_out()) for place, each in enumerate(ones)]
    tests = [test for test in tests if len(test[2])]
    seasons = {"naive": 1, "seasonal_naive": model.season}
    if all(_is_day(each, model.season) and at[0] >= 7 * model.season for _, each, at, _ in tests):
        seasons["weekly_naive"] = 7 * model.season
    results = []
    for place, each, at, actual in tests:
        quantiles, filled = each.quantiles(at), fill(each.target, model.season)
        forecasts = {"model": quantiles[..., model.levels.index(0.5)]} | {
            name: seasonal_naive(filled, at, model.horizon, season) for name, season in seasons.items()
        }
        forecasts["drift"] = drift(filled, at, model.horizon)
        unit, scores = mase_divisor(each.target[: each.cut], model.season), dict[str, dict[str, Any]]()
        for name, values in forecasts.items():
            error, size = np.abs(actual - values), np.abs(actual) + np.abs(values)
            smape = np.divide(200 * error, size, out=np.zeros_like(error), where=size > 0).mean()
            steps = error.mean(axis=0) / unit
            scores[name] = {"mase": float(steps.mean()), "smape": float(smape), "steps": steps.tolist()}
        inside = (quantiles[..., 0] <= actual) & (actual <= quantiles[..., -1])
        above, q = actual[..., None] - quantiles, np.array(model.levels)
        pinball = np.maximum(q * above, (q - 1) * above).mean() / unit
        scores["model"] |= {"coverage": float(inside.mean()), "pinball": float(pinball)}
        results.append(Backtest(place, each, at, quantiles, scores))
    return results


def mean_scores(tests: Sequence[Backtest]) -> dict[str, dict[str, Any]]:
    """The scores by method: means over the series, which have the same weight."""
    return {
        method: {name: np.mean([each.scores[method][name] for each in tests], axis=0).tolist() for name in of_method}
        for method, of_method in tests[0].scores.items()
    }


def seasonal_naive(values: HostArray, origins: HostArray, horizon: int, season: int) -> HostArray:
    """The last `season` of values (T,), repeated: (N, F)."""
    repeated: HostArray = values[origins[:, None] - season + np.arange(horizon) % season]
    return repeated


def drift(values: HostArray, origins: HostArray, horizon: int) -> HostArray:
    """The line from the first value to the last one before each origin, continued: (N, F)."""
    slope = (values[origins - 1] - values[0]) / np.maximum(origins - 1, 1)
    line: HostArray = values[origins - 1, None] + slope[:, None] * np.arange(1, horizon + 1)
    return line


def _is_day(series: OneSeries, season: int) -> bool:
    """Whether a season of more than one step is a day."""
    times = series.given.times or ()
    return len(times) > season > 1 and times[season] - times[0] == timedelta(days=1)  # type: ignore[operator]
