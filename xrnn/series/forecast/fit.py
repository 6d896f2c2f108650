"""Fits a model to series, and tests it: sizes, the choice of logarithms and of a calendar, the parts of a forecast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.files import printable
from xrnn.series.checks import DataError, Scale, Series
from xrnn.series.estimator import parse_quantiles
from xrnn.series.forecast.learnt import EQUAL, UNITS, average, effect_of, learn, most_windows
from xrnn.series.forecast.series import LEAST_ROWS, TOO_FEW, Model, OneSeries, fill, mase_divisor
from xrnn.series.forecast.smoothing import confidence, preference
from xrnn.series.read import check_same
from xrnn.series.times import Step, step_of
from xrnn.typing import HostArray

_TEST_SHARE: Final = 0.2  # of the rows, for the backtest
_FEW: Final = 40  # with fewer left-out windows than this, the intervals come from exponential smoothing alone
_MOST_VALUES: Final = 2**23  # in the contexts of the samples of all series

# Forecasts (N, F) of a series at left-out origins (N,), without the effect of the columns.
_Test = tuple[OneSeries, HostArray, HostArray]


def fit_series(series: Sequence[Series], p: Any, *, held_out: bool = False) -> list[OneSeries]:
    """The series, and their model, which is fitted to all rows, or to those before the last fifth of each series.

    p          the parameters of a Forecaster
    held_out   True: the last fifth is left out, at least a horizon

    Raises DataError.
    """
    longest = max((each for each in series if each.times), key=lambda each: len(each.times or ()), default=series[0])
    step = step_of(longest.times or (), longest.name)
    name = step.name if step else ""
    series = [_extended(each, name, f"{printable(longest.name)} has", p.horizon) for each in series]
    rows = [each.target_rows.stop for each in series]
    cuts = [max(n - max(p.horizon, round(_TEST_SHARE * n)), 0) for n in rows]
    model = _without_parts(series, rows, cuts, step, p)
    ones = [OneSeries(each, model, cut) for each, cut in zip(series, cuts if held_out else rows, strict=True)]
    if all(each.flawed for each in ones):
        raise DataError(
            f"{printable(ones[0].name)} has {TOO_FEW}: expected at least two rows with values that change; add "
            "rows, or leave it out"
        )
    model.known_scale = Scale.of(each.given.values[: each.cut, 1:] for each in ones)
    has_times = all(each.times for each in series)
    return _complete(_chosen(ones, step.calendar(max(rows)) if step and has_times else ""))


def _without_parts(
    series: Sequence[Series], rows: Sequence[int], cuts: Sequence[int], step: Step | None, p: Any
) -> Model:
    """The model without its parts, before the choice of logarithms and of a calendar.

    The context is the longest of three seasons, two horizons and 24 steps; fewer if the longest series, or most of
    them, are short. It has at least a season, and two seasons if there are as many rows.
    """
    F, levels = p.horizon, parse_quantiles(p.quantiles)
    season = p.season or (step.season if step and 2 * step.season <= max(rows) else 1)
    # Series without a window, also in the final fit, do not make the context shorter.
    long = [cut for cut, n in zip(cuts, rows, strict=True) if n >= max(season, LEAST_ROWS) + F] or cuts
    longest, typical = max(long), int(np.median(long))
    available = min(max(2 * (longest - F) // 3, min(2 * season, longest)), typical)
    context = max(min(max(3 * season, 2 * F, 24), available), season)
    return Model(
        horizon=F,
        season=season,
        context=context,
        channel_names=series[0].channel_names,
        step=step.name if step else "",
        known_scale=Scale.of([np.zeros((1, series[0].channels - 1))]),
        effect=np.zeros(series[0].channels - 1),
        linear=np.zeros((context + 1, F)),
        recurrent=np.zeros((UNITS + 1, F)),
        levels=levels,
        offsets=np.zeros((F, len(levels))),
    )


class _Solved(NamedTuple):
    """Series with a model that has a linear part only, and its tests.

    error   the mean error of the tests, in units of MASE; infinite without tests
    """

    series: list[OneSeries]
    tests: list[_Test]
    error: float


def _chosen(series: list[OneSeries], calendar_name: str) -> _Solved:
    """The series, whose model has the linear part, and uses logarithms and a calendar or not.

    The model forecasts the logarithms of positive values without jumps if the errors of the linear part are then
    smaller, or equal within 5 %. It has calendar columns if they lower these errors by more than 5 %.
    """
    best = _solved(series)
    targets = [each.target[: each.cut] for each in series if not each.flawed]
    values = [each[~np.isnan(each)] for each in targets]
    if all((each > 0).all() for each in values) and sum(map(_jumps, values)) <= len(values) / 2:
        other = _solved(_under(series, log=True))
        # Intervals of logarithms grow with the level, as errors of most growing series do: equal errors prefer them.
        best = other if other.error < best.error * EQUAL else best
    if calendar_name:
        other = _solved(_under(best.series, calendar=calendar_name))
        best = other if other.error * EQUAL < best.error else best
    return best


def _under(series: Sequence[OneSeries], **choice: Any) -> list[OneSeries]:
    """The same series under a model with another choice."""
    model = replace(series[0].model, **choice)
    return [OneSeries(each.given, model, each.cut) for each in series]


def _jumps(values: HostArray) -> bool:
    """Whether neighbours differ by a factor above 100: errors of logarithms would give useless intervals."""
    return len(values) > 1 and float(np.abs(np.diff(np.log(values))).max()) > math.log(100)


def _solved(series: list[OneSeries]) -> _Solved:
    """The linear part from the rows before the cuts, and the effect of the columns."""
    model, used = series[0].model, [each for each in series if not each.flawed]
    if not used:
        return _Solved(series, [], np.inf)
    if K := used[0].columns.shape[1]:
        model.effect = effect_of([each.changes() for each in used], K)
    origins = [np.arange(model.least_rows, each.cut) for each in used]
    if (count := sum(map(len, origins))) > (most := max(_MOST_VALUES // model.context, 1)):
        # A random part of each series, so that windows of all ages and all phases of the season remain.
        rng = np.random.default_rng(0)
        origins = [np.sort(rng.choice(of, -(-len(of) * most // count), replace=False)) for of in origins]
    samples = [each.samples(of) for each, of in zip(used, origins, strict=True)]
    model.linear, tested = average(samples, model.season)
    tests = []
    for i, rows, scaled in tested:
        of = samples[i]
        at = np.rint(of.origin[rows] * used[i].cut).astype(int)
        tests.append((used[i], at, of.level[rows] + of.scale[rows] * used[i].unit * scaled))
    return _Solved(series, tests, _mean_error(tests))


def _mean_error(tests: Sequence[_Test]) -> float:
    errors = np.concatenate([np.zeros(0), *(each.mean_errors(at, forecasts) for each, at, forecasts in tests)])
    errors = errors[~np.isnan(errors)]
    return float(errors.mean()) if errors.size else np.inf


def _complete(solved: _Solved) -> list[OneSeries]:
    """The series, whose model is complete: with the shares, the recurrent part, the intervals. The linear part has

        the share w n² / (n² + 60²),   w = 1 / (1 + r³²)

    for the ratio r of its mean error to that of exponential smoothing on n left-out windows. The intervals come from
    the errors on these windows. If they are few, the errors are those of exponential smoothing in the last half of the
    rows: it learns nothing, so it has not seen the values that it forecasts.
    """
    series, tests, error = solved
    model, used = series[0].model, [each for each in series if not each.flawed]
    smoothed = [(each, at, each.smoothed(at)[0]) for each, at, _ in tests]
    n, of_smoothing = sum(len(at) for _, at, _ in tests), _mean_error(smoothed)
    # Without tests, and for rows that do not change, whose MASE is unknown: exponential smoothing alone.
    share = confidence(n) * preference(error**2, of_smoothing**2) if np.isfinite(of_smoothing) else 0.0
    w = model.smoothing = round(float(1 - share), 2)
    left_out = [
        (each, at, w * smooth + (1 - w) * linear)
        for (each, at, linear), (*_, smooth) in zip(tests, smoothed, strict=True)
    ]
    if n < _FEW:
        left_out = [(each, each.last_half, each.smoothed(each.last_half)[0]) for each in used]
    errors = np.concatenate([each.errors(at, forecasts) for each, at, forecasts in left_out])
    reach = np.concatenate([each.reach(at) for each, at, _ in left_out])
    model.spread = spread_of(errors, reach)
    model.offsets = quantile_offsets(errors / (1 + model.spread * reach), model.levels)
    long = [each for each in used if each.cut > model.least_rows]
    if long:
        most = most_windows(len(long), model.horizon)
        model.recurrent = learn([each.lessons(most) for each in long])
    return series


# ---- times ----


def as_fitted(series: Series, model: Model) -> Series:
    """The series with the times of the steps ahead.

    Raises DataError for another number of columns and another step, and if the model has a calendar and the series no
    dates.
    """
    check_same(series, 1 + model.known, None, "the model")
    if model.calendar and not isinstance((series.times or [0])[0], datetime):
        raise DataError(
            f"{printable(series.name)} has no dates, and the model uses the {model.calendar}: expected dates; add a "
            "column or an index of them"
        )
    return _extended(series, model.step, "the model was trained on", model.horizon)


def _extended(series: Series, expected: str, other: str, horizon: int) -> Series:
    """The series with the times of the steps ahead. A single time has no step: the step is then the one expected.

    expected   the name of the step;   other: the start of a sentence about it: "the model was trained on"

    Raises DataError if the times have another step.
    """
    if not series.times:
        return series
    step = step_of(series.times, series.name, like=expected)
    if not step:
        return series
    is_unit = " " in step.name  # the unit of numbers is unknown
    if expected and step.name != expected and is_unit == (" " in expected):
        raise DataError(
            f"{printable(series.name)} has steps of {step.name}, but {other} steps of {expected}: expected the same "
            "steps; correct the times, or train a model for each"
        )
    return replace(series, times=(*series.times, *step.after(series.times[-1], horizon)))


_LEAST_WIDTH: Final = 0.3  # of a step ahead, as a share of the mean width
_INDEPENDENT: Final = 1.25  # errors in a window that count as independent: those of overlapping windows are alike
_SYMMETRIC: Final = 5  # independent windows that count for offsets of equal size above and below


def spread_of(errors: HostArray, reach: HostArray) -> float:
    """b / a, for the regression |error| = a + b · reach: by how much a reach of 1 widens the intervals; 0 if b < 0.

    Both (N, F); NaN for an unknown error.
    """
    known = ~np.isnan(errors)
    size, r = np.abs(errors[known]), reach[known]
    if not r.size or r.min() == r.max():
        return 0.0
    b, a = np.polyfit(r, size, 1)
    return float(np.clip(b / max(a, 1e-3 * size.mean(), 1e-300), 0, 1e6))


def quantile_offsets(errors: HostArray, levels: tuple[float, ...]) -> HostArray:
    """Offsets (F, Q) with which the right share of left-out values falls below each quantile; 0 for the median.

    The width of a step ahead grows linearly with its number, as the mean errors do, or is constant if they fall. The
    quantiles are those of all errors divided by their widths   (conformalized quantile regression: Romano et al.,
    2019). They are widened as Student's t is beside the normal distribution, by 1 + (z² + 1) / 4n, for n independent
    windows. Each is a mean of two quantiles: that of the errors, with the weight n, and that of the absolute errors,
    with the weight 5. An offset of a quantile below 0.5 is never above 0, nor one of a higher quantile below 0.

    errors   (N, F): the values minus the forecasts; NaN if unknown
    """
    F, size = errors.shape[1], np.abs(errors)
    offsets = np.zeros((F, len(levels)))
    count = (~np.isnan(size)).sum(axis=0)
    step, known = np.arange(F), count > 0
    if not known.any():
        return offsets
    mean = np.nansum(size, axis=0)[known] / count[known]
    fit = np.polyfit(step[known], mean, 1, w=count[known] ** 0.5) if known.sum() > 1 else [0.0]
    # If the mean errors fall with the step, this is due to chance in few windows.
    line = np.polyval(fit, step) if fit[0] > 0 else np.average(mean, weights=count[known])
    width = np.maximum(line, max(_LEAST_WIDTH * float(mean.mean()), 1e-30)) * np.ones(F)
    ratios, n = errors / width, max(count.sum() / F**2, 1.0)
    for i, q in enumerate(levels):
        if q != 0.5:
            side, z = (1 if q > 0.5 else -1), NormalDist().inv_cdf(q)
            own = max(side * float(np.nanquantile(ratios, q)), 0.0)
            both = float(np.nanquantile(np.abs(ratios), abs(2 * q - 1)))
            offset = (n * own + _SYMMETRIC * both) / (n + _SYMMETRIC)
            offsets[:, i] = width * side * offset * (1 + (z * z + 1) / (4 * _INDEPENDENT * n))
    return offsets


class Backtest(NamedTuple):
    """The forecasts of the held-out rows of a series, (N, F, Q), from the origins (N,).

    place    of the series among all
    seasonal_naive   the forecasts that repeat the last season, (N, F)
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
    seasonal_naive: HostArray
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
        results.append(Backtest(place, each, at, quantiles, forecasts["seasonal_naive"], scores))
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
