"""Fits a model to series: `fit_series`, and its steps in their order. Tests such a model on the last rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.files import printable
from xrnn.series.errors import DataError
from xrnn.series.forecast.closed_days import with_holidays, with_times_ahead
from xrnn.series.forecast.linear import FAR, affine, effect_of, effects_by_block, linear_part
from xrnn.series.forecast.recurrent import EQUAL, UNITS, recurrent_part, states
from xrnn.series.forecast.series import (
    LEAST_ROWS,
    TOO_FEW,
    Model,
    OneSeries,
    PreparedSeries,
    Settings,
    Setup,
    fill,
    first_row,
    in_one_unit,
    mase_divisor,
)
from xrnn.series.forecast.smoothing import confidence, preference
from xrnn.series.one_series import Series, check_same
from xrnn.series.progress import each_of
from xrnn.series.scale import Scale
from xrnn.series.steps import Step, step_of
from xrnn.typing import HostArray

_PARTS_OF_DAY: Final = (24, 48, 96)  # steps in a day: hours, half hours and quarter hours
_TEST_SHARE: Final = 0.2  # of the rows, for the backtest
_MOST_VALUES: Final = 2**23  # in the contexts of all windows that the linear part is learnt from
_FEW: Final = 40  # with fewer left-out windows than this, the intervals come from exponential smoothing alone
_LEAST_WIDTH: Final = 0.3  # of a step ahead, as a share of the mean width
_INDEPENDENT: Final = 1.25  # independent errors in a window: those of overlapping windows are alike
_SYMMETRIC: Final = 5  # the weight of offsets of equal size above and below, in independent windows
_MOST_WINDOWS: Final = 20_000  # of all series, that the recurrent part is learnt from
_MOST_AHEAD: Final = 200_000  # values ahead of these windows
_ORIGINS: Final = 16  # of forecasts from fewer rows
_MOST_CONTEXTS: Final = 10  # before these origins: exponential smoothing reads no more
_LARGEST_LEVEL: Final = 0.9  # of the quantiles of their errors
_LEAST_SERIES: Final = 20  # of fewer series, no more windows of each are used

_SMOOTHING: Final = "exponential smoothing"

Scores = dict[str, dict[str, Any]]  # by method and name, see `Backtest`


class Test(NamedTuple):
    """Forecasts (N, F) of a series at left-out origins (N,), without the effect of the columns.

    recent   (N, 48, 2), what the recurrent part reads, see `smoothing.with_errors`; empty in tests of the linear part
    """

    series: PreparedSeries
    origins: HostArray
    forecasts: HostArray
    recent: HostArray


class LinearFit(NamedTuple):
    """The linear part of a model.

    series   as the linear part reads them, without those that are flawed
    tests    its forecasts of left-out windows;   error: their mean error
    """

    series: list[PreparedSeries]
    linear: HostArray
    tests: list[Test]
    error: float


def fit_series(series: Sequence[Series], settings: Settings, *, held_out: bool = False) -> list[OneSeries]:
    """The series, and their model, which is fitted to all rows, or to those before the last fifth of each series.

    The parts of the model are found in this order: the season and the context; the effect of the columns and the linear
    part, with logarithms and a calendar if they help; the share of exponential smoothing; the intervals; the recurrent
    part.

    held_out   True: the last fifth is left out, at least a horizon. The last rows may be in another unit, which no
               forecast can know: they are then converted

    Raises DataError.
    """
    longest = max(series, key=lambda one: len(one.times or ()))
    step = step_of(longest.times or (), longest.name, longest.step)
    series = [with_holidays(one, step) for one in series]
    skipped = [first_row(one, _cut(one.target_rows, settings.horizon) if held_out else None) for one in series]
    series = [one.part(start) for one, (start, _) in zip(series, skipped, strict=True)]
    rows = [one.target_rows.stop for one in series]
    cuts = [_cut(range(n), settings.horizon) for n in rows]
    setup = _sizes(series, rows, cuts, step, settings)
    series = [as_fitted(one, setup, f"{printable(longest.name)} has") for one in series]
    if held_out:
        series = [in_one_unit(one, setup.season) for one in series]
    ends = cuts if held_out else rows
    prepared = each_of(
        [*zip(series, ends, strict=True)], "preparing", lambda one: PreparedSeries(one[0], setup, one[1])
    )
    if all(one.flawed for one in prepared):
        raise DataError(
            f"{printable(prepared[0].name)} has {TOO_FEW}; add rows with values that change, or leave it out"
        )
    setup = replace(setup, known_scale=Scale.of(one.known[: one.cut] for one in prepared))
    has_dates = all(isinstance((one.times or [0])[0], datetime) for one in series)
    fit = _chosen(prepared, setup, step.calendar(max(rows)) if step and has_dates else "")
    smoothing, tests = _share_of_smoothing(fit)
    recurrent, tests = _recurrent(fit, smoothing, tests)
    spread, offsets = _intervals(tests, settings.levels)
    model = Model(
        **vars(fit.series[0].setup),
        linear=fit.linear,
        smoothing=smoothing,
        recurrent=recurrent,
        levels=settings.levels,
        offsets=offsets,
        spread=spread,
        widening=np.ones(setup.context),
    )
    if not held_out or any(one.cut < setup.context for one in prepared):
        model = replace(model, widening=_widening(fit.series, model))
    fitted = [OneSeries(one.given, model, one.cut, one.left_out) for one in prepared]
    for one, (start, constant) in zip(fitted, skipped, strict=True):
        one.skipped, one.constant = start, constant
    return fitted


def _cut(rows: range, horizon: int) -> int:
    """The first of these rows that a backtest holds out: the first of the last fifth, or of the last horizon."""
    n = len(rows)
    return rows.start + max(n - max(horizon, round(_TEST_SHARE * n)), 0)


def why_not_scored(one: OneSeries) -> str:
    """Why the backtest leaves out a series, which is given with all its rows."""
    rows = len(one.target)
    horizon = one.model.horizon
    cut = _cut(range(rows), horizon)
    before = one.target[:cut]
    known = before[~np.isnan(before)]
    if len(known) < 2 or rows - horizon < max(cut, one.model.least_rows):
        return "too few rows"
    if np.ptp(known) == 0:
        return "equal values"
    return "missing values, or values that hardly change"


def _sizes(series: Sequence[Series], rows: list[int], cuts: list[int], step: Step | None, settings: Settings) -> Setup:
    """The sizes of the model, before the choice of logarithms and of a calendar.

    The context is the longest of three seasons, two horizons and 24 steps; fewer if the longest series, or most of
    them, are short. It has at least a season, and two seasons if there are as many rows.
    """
    F = settings.horizon
    K = series[0].channels - 1
    season = settings.season or (step.season if step and 2 * step.season <= max(rows) else 1)
    # Series that are too short for a window do not make the context shorter.
    long = [cut for cut, n in zip(cuts, rows, strict=True) if n >= max(season, LEAST_ROWS) + F] or cuts
    longest = max(long)
    typical = int(np.median(long))
    available = min(max(2 * (longest - F) // 3, min(2 * season, longest)), typical)
    context = max(min(max(3 * season, 2 * F, 24), available), season)
    return Setup(
        horizon=F,
        season=season,
        context=context,
        channel_names=series[0].channel_names,
        step=step.name if step else "",
        known_scale=Scale(np.zeros(K), np.ones(K)),
        effect=np.zeros(K),
    )


def as_fitted(series: Series, model: Setup, other: str = "the model was trained on") -> Series:
    """The series with the times of the steps ahead. A single time has no step: the step is then that of the model.

    Raises DataError for another number of columns or another step than the model has, and if the model has a calendar
    and the series no dates.   other: the words of the error before the step of the model
    """
    check_same(series, 1 + model.known, None)
    times = series.times or ()
    if model.calendar and not (times and isinstance(times[0], datetime)):
        raise DataError(
            f"{printable(series.name)} has no dates, and the model uses the {model.calendar}; add a column or an index "
            "of dates"
        )
    step = step_of(times, series.name, like=model.step)
    if not step:
        return series
    is_unit = " " in step.name  # numbers have no unit, and are compared with numbers only
    if model.step and step.name != model.step and is_unit == (" " in model.step):
        raise DataError(
            f"{printable(series.name)} has steps of {step.name}, but {other} steps of {model.step}; correct the times, "
            "or train a model for each"
        )
    return with_times_ahead(series if series.closed else with_holidays(series, step), step, model.horizon)


def _chosen(series: Sequence[PreparedSeries], setup: Setup, calendar: str) -> LinearFit:
    """The linear part, of the logarithms if they help, with a calendar and with a context of a week if these help.

    The model forecasts the logarithms of positive values without jumps if the errors of the linear part are then
    smaller, or equal within 5 %: intervals of logarithms grow with the level, as errors of most growing series do. It
    forecasts the values of a series whose changes do not grow with its level. It has calendar columns if they lower
    these errors by more than 5 %. Without a calendar, the context of
    hours, half hours and quarter hours has a week and a day by the same rule, also without times: the linear part then
    reads the values a week before each step of a day.

    calendar   the name of the calendar columns to try; empty for none
    """

    def fit(setup: Setup) -> LinearFit:
        return _linear_fit([one.with_setup(setup) for one in series])

    best = fit(setup)
    values = [one.seen for one in best.series]
    setup_of_logs = replace(setup, log=True)
    if (
        all((seen > 0).all() for seen in values)
        and sum(map(_jumps, values)) <= len(values) / 2
        and any(one.with_setup(setup_of_logs).log for one in best.series)
    ):
        fit_of_logs = fit(setup_of_logs)
        if fit_of_logs.error < EQUAL * best.error:
            best, setup = fit_of_logs, setup_of_logs
    if calendar:
        with_calendar = fit(replace(setup, calendar=calendar))
        if with_calendar.error < best.error / EQUAL:
            best = with_calendar
            setup = replace(setup, calendar=calendar)
    context = 8 * setup.season
    is_possible = setup.season in _PARTS_OF_DAY and setup.context < context <= max(one.cut for one in series) // 2
    if is_possible and not setup.calendar:
        with_week = fit(replace(setup, context=context))
        if with_week.error < best.error / EQUAL:
            best = with_week
    return best


def _jumps(values: HostArray) -> bool:
    """Whether neighbours differ by a factor above 100: errors of logarithms would give useless intervals."""
    return float(np.abs(np.diff(np.log(values))).max()) > math.log(100)


def _linear_fit(series: Sequence[PreparedSeries]) -> LinearFit:
    """The effect of the columns and the linear part."""
    used = [one for one in series if not one.flawed]
    setup = series[0].setup
    if not used:  # of logarithms, all may be equal or unknown
        return LinearFit([], np.zeros((setup.context + 1, setup.horizon)), [], np.inf)
    changes = [np.concatenate(each) for each in zip(*(one.changes() for one in used), strict=True)]
    # Calendar columns alone are few in comparison with the rows: their errors are those on the rows of the fit.
    effect, without_blocks = effects_by_block(*changes) if setup.known else (effect_of(*changes[:2]), None)
    used = [one.with_effect(effect, without_blocks) for one in used]
    origins = [np.arange(setup.least_rows, one.cut) for one in used]
    count = sum(map(len, origins))
    most = max(_MOST_VALUES // setup.context, 1)
    if count > most:
        # A random part of each series, so that windows of all ages and all phases of the season remain.
        rng = np.random.default_rng(0)
        origins = [np.sort(rng.choice(at, -(-len(at) * most // count), replace=False)) for at in origins]
    windows = [
        (*one.contexts(at), one.actual(at), np.full(len(at), one.cut), np.full((len(at), 1), one.unit))
        for one, at in zip(used, origins, strict=True)
    ]
    z, level, scale, actual, rows, units = map(np.concatenate, zip(*windows, strict=True))
    ahead = ((actual - level) / scale).clip(-FAR, FAR)
    linear, scaled = linear_part(z, ahead, np.concatenate(origins), rows, scale / units, setup.season)
    forecasts = np.split(level + scale * scaled, np.cumsum([len(at) for at in origins])[:-1])
    tests = []
    for one, at, of_series in zip(used, origins, forecasts, strict=True):
        tested = ~np.isnan(of_series[:, 0])
        tests.append(Test(one, at[tested], of_series[tested], np.zeros((0, 0, 2))))
    return LinearFit(used, linear, tests, _mean_error(tests))


def _mean_error(tests: Sequence[Test]) -> float:
    """The mean of the windows' MASE; infinite if there is no window with a known one."""
    errors = np.concatenate([test.series.mean_errors(test.origins, test.forecasts) for test in tests])
    errors = errors[~np.isnan(errors)]
    return float(errors.mean()) if errors.size else np.inf


def _share_of_smoothing(fit: LinearFit) -> tuple[float, list[Test]]:
    """The share of exponential smoothing; the tests of its average with the linear part, which has

        the share w n² / (n² + 60²),   w = 1 / (1 + r³²)

    for the ratio r of its mean error to that of exponential smoothing on n left-out windows.
    """
    smoothed = each_of(fit.tests, _SMOOTHING, lambda test: _smoothed(test.series, test.origins))
    n = sum(len(test.origins) for test in fit.tests)
    error = _mean_error(smoothed)
    # Without tests, and for rows that do not change, whose MASE is unknown: exponential smoothing alone.
    share = confidence(n) * preference(fit.error**2, error**2) if np.isfinite(error) else 0.0
    w = round(float(1 - share), 2)
    return w, [
        other._replace(forecasts=w * other.forecasts + (1 - w) * test.forecasts)
        for test, other in zip(fit.tests, smoothed, strict=True)
    ]


def _intervals(tests: Sequence[Test], levels: tuple[float, ...]) -> tuple[float, HostArray]:
    """The spread and the offsets (2, F, Q) of the quantiles, from the errors of the tests.

    The first offsets are those of series that change often, the second those of series that seldom do. If one of these
    has fewer than 40 windows, both are those of all.
    """
    errors = np.concatenate([(one.actual(at) - forecasts) / one.unit for one, at, forecasts, _ in tests])
    reach = np.concatenate([one.reach(at) for one, at, *_ in tests])
    spread = spread_of(errors, reach)
    errors = errors / (1 + spread * reach)
    seldom = np.concatenate([np.full(len(test.origins), test.series.seldom_changes) for test in tests])
    if min(seldom.sum(), (~seldom).sum()) < _FEW:
        return spread, np.stack([quantile_offsets(errors, levels)] * 2)
    return spread, np.stack([quantile_offsets(errors[group], levels) for group in (~seldom, seldom)])


def spread_of(errors: HostArray, reach: HostArray) -> float:
    """b / a, for the regression |error| = a + b · reach: by how much a reach of 1 widens the intervals; 0 if b < 0.

    Both (N, F); NaN for an unknown error.
    """
    known = ~np.isnan(errors)
    size = np.abs(errors[known])
    r = reach[known]
    if not r.size or r.min() == r.max():
        return 0.0
    b, a = np.polyfit(r, size, 1)
    return float(np.clip(b / max(a, 1e-3 * size.mean(), 1e-300), 0, 1e6))


def quantile_offsets(errors: HostArray, levels: tuple[float, ...]) -> HostArray:
    """Offsets (F, Q) with which the right share of left-out values falls below each quantile; 0 for the median.

    The quantiles are those of all errors divided by the widths of their steps   (conformalized quantile regression:
    Romano et al., 2019). They are widened as Student's t is beside the normal distribution, by 1 + (z² + 1) / 5n, for n
    independent windows, each of 1.25 independent errors. Each is a mean of two quantiles: that of the errors, with the
    weight n, and that of the absolute errors, with the weight 5. No offset of a quantile below 0.5 is above 0, and none
    of a higher one below 0.

    errors   (N, F): the values minus the forecasts; NaN if unknown
    """
    F = errors.shape[1]
    count = (~np.isnan(errors)).sum(axis=0)
    offsets = np.zeros((F, len(levels)))
    if not count.any():
        return offsets
    width = _widths(np.nansum(np.abs(errors), axis=0) / np.maximum(count, 1), count)
    ratios = errors / width
    n = max(count.sum() / F**2, 1.0)
    for i, q in enumerate(levels):
        if q != 0.5:
            side = 1 if q > 0.5 else -1
            z = NormalDist().inv_cdf(q)
            own = max(side * float(np.nanquantile(ratios, q)), 0.0)
            both = float(np.nanquantile(np.abs(ratios), abs(2 * q - 1)))
            offset = (n * own + _SYMMETRIC * both) / (n + _SYMMETRIC)
            offsets[:, i] = width * side * offset * (1 + (z * z + 1) / (4 * _INDEPENDENT * n))
    return offsets


def _widths(mean: HostArray, count: HostArray) -> HostArray:
    """(F,): the line through the mean errors (F,) of `count` (F,) windows. If it falls, by chance, it is constant.

    Steps h after the last one that was tested, l, would make an error of its slope large: they have at most the width
    of step l times √(h / l), by which the errors of a random walk grow.
    """
    steps = np.arange(len(mean))
    center = np.average(steps, weights=count)
    height = np.average(mean, weights=count)
    apart = steps - center
    slope = (count * apart * mean).sum() / max((count * apart**2).sum(), 1e-300)
    least = max(_LEAST_WIDTH * float(mean[count > 0].mean()), 1e-30)
    widths = np.maximum(height + max(slope, 0.0) * apart, least)
    last = int(np.flatnonzero(count)[-1])
    growth = np.sqrt(np.maximum((steps + 1) / (last + 1), 1))
    return np.where(steps > last, np.minimum(widths, widths[last] * growth), widths)


def _smoothed(one: PreparedSeries, origins: HostArray) -> Test:
    forecasts, recent = one.smoothed(origins)
    return Test(one, origins, forecasts, recent.astype(np.float32))


def _recurrent(fit: LinearFit, smoothing: float, tests: Sequence[Test]) -> tuple[HostArray, list[Test]]:
    """The recurrent part, from windows in the last half of the rows; fewer of each series if there are more.

    Also the tests from which the intervals come. If the given ones are few, these are forecasts of exponential
    smoothing in the last half of the rows: it learns nothing, so it has not seen the values that it forecasts. If there
    is a recurrent part, they are corrected by it: see `_corrected`.
    """
    if sum(len(test.origins) for test in tests) < _FEW:
        tests = each_of(fit.series, _SMOOTHING, lambda one: _smoothed(one, one.last_half))
    setup = fit.series[0].setup
    long = [one for one in fit.series if one.cut > setup.least_rows]
    most = max(min(_MOST_WINDOWS, _MOST_AHEAD // setup.horizon) // max(len(long), _LEAST_SERIES), 1)

    def windows_of(one: PreparedSeries) -> tuple[HostArray, ...]:
        at = one.last_half[one.last_half >= setup.least_rows]
        at = at[::-1][:: math.ceil(len(at) / most)][::-1]  # equally spaced, with the last one
        forecasts, recent = one.averaged(at, fit.linear, smoothing)
        places = (at[:, None] + np.arange(setup.horizon)) / one.cut
        return recent, (one.actual(at) - forecasts) / one.unit, places

    windows = each_of(long, "recurrent part", windows_of)
    if not windows:
        return np.zeros((UNITS + 1, setup.horizon)), [*tests]
    recurrent, of_earlier_rows = recurrent_part(len(long), *map(np.concatenate, zip(*windows, strict=True)))
    return recurrent, _corrected(tests, of_earlier_rows) if recurrent.any() else [*tests]


def _corrected(tests: Sequence[Test], recurrent: dict[float, HostArray]) -> list[Test]:
    """The tests after the first split of the rows, corrected by the recurrent part of the last split before each.

    If they are few, all tests without a correction: it was chosen on these rows, so few errors would look too small.

    recurrent   (H + 1, F) by split: see `recurrent_part`
    """
    parts = [np.searchsorted([*recurrent], test.origins / test.series.cut, side="right") for test in tests]
    if sum(np.count_nonzero(part) for part in parts) < _FEW:
        return [*tests]
    corrected = []
    for (one, origins, forecasts, recent), part in zip(tests, parts, strict=True):
        h = states(recent)
        plain = np.zeros_like(forecasts)
        corrections = np.stack([plain, *(one.unit * affine(h, V) for V in recurrent.values())])
        used = part > 0
        values = forecasts + corrections[part, np.arange(len(part))]
        corrected.append(Test(one, origins[used], values[used], recent[used]))
    return corrected


def _widening(series: Sequence[PreparedSeries], model: Model) -> HostArray:
    """By what factor (C,) the intervals of a series with fewer rows than the context must be wider.

    Errors of forecasts from the last n rows before some origins, in units of these rows, are compared with errors of
    forecasts from all rows before them, up to ten contexts: the factor is the ratio of their quantiles, at least 1. It
    is measured for some numbers of rows, and is linear between them. A smaller number never has a smaller factor.

    If no series is long enough, or their errors are 0, it is √(m / n) for n rows, with the m rows of the longest
    series, at most C: the factors that were measured on M1 and M3 are near to that.
    """
    F, C = model.horizon, model.context
    long = [one for one in series if one.cut > C + F]
    long = long[:: -(-len(long) // _ORIGINS)] if long else []
    lengths = np.unique(np.clip([2, 4, *np.geomspace(4, C, 4), model.season + 1], 1, C).astype(int))
    errors: dict[int, list[HostArray]] = {int(n): [] for n in lengths}
    of_all: list[HostArray] = []
    places = Counter(  # in a short series, an origin may come more than once
        (one, int(origin))
        for one in long
        for origin in np.linspace(max(C, min(one.cut // 2, one.cut - F)), one.cut - F, -(-_ORIGINS // len(long)))
    )

    def compare(place: tuple[tuple[PreparedSeries, int], int]) -> None:
        (one, origin), count = place
        if np.isnan(one.values[origin - C : origin + F]).any():
            return
        of_all.extend([_relative_errors(one, max(origin - _MOST_CONTEXTS * C, 0), origin, model)] * count)
        for n, of_n in errors.items():
            of_n.extend([_relative_errors(one, origin - n, origin, model)] * count)

    each_of([*places.items()], "intervals of short series", compare)
    level = min(model.levels[-1] - model.levels[0], _LARGEST_LEVEL)
    usual, *of_few = [np.nanquantile(np.append(of_n, 0), level) for of_n in (of_all, *errors.values())]
    if usual == 0:
        m = min(C, max(one.cut for one in series))
        return np.sqrt(np.maximum(m / np.arange(C).clip(1), 1))
    factors = np.array(of_few) / usual
    factors = np.maximum.accumulate(factors[::-1].clip(1))[::-1]
    return np.interp(np.arange(C), lengths, factors)


def _relative_errors(one: PreparedSeries, start: int, origin: int, model: Model) -> HostArray:
    """The errors (F,) of a forecast from the rows from `start` to `origin`, in widths; NaN if it is naive."""
    end = origin + model.horizon
    values = one.given.values[start:end].copy()
    values[:, 0] = one.same_unit[start:end]
    values[origin - start :, 0] = np.nan
    given = one.given.part(start, end + model.horizon)  # the times are as in `as_fitted`
    part = OneSeries(replace(given, values=values), model)
    if part.flawed:
        return np.full(model.horizon, np.nan)
    at = np.array([part.cut])
    forecast = part.plain(at)[0] + part.ahead(part.effect, at)[0]
    actual = part.scaled(one.same_unit[origin:end])
    return np.abs(actual - forecast) / part.width(at)[0]


class Backtest(NamedTuple):
    """The forecasts of the held-out rows of a series, (N, F, Q), from the origins (N,).

    place    of the series among all
    seasonal_naive   the forecasts that repeat the last season, (N, F)
    scores   by method: `mase`, the mean absolute error divided by the mean |v[t] - v[t - season]| in the rows before
             (Hyndman & Koehler, 2006), see `_score_unit`; `steps`, the same of each step ahead; `smape`, the mean of
             200 |error| / (|value| + |forecast|), in percent. Of the model also `coverage`, the share of values between
             the lowest and the highest quantile, and `pinball`, the mean loss of the quantiles in units of MASE: q · e
             for a value that is e above the quantile q, (1 - q) · e for one below
    """

    place: int
    series: OneSeries
    origins: HostArray
    forecasts: HostArray
    seasonal_naive: HostArray
    scores: Scores


def backtest(series: Sequence[Series], settings: Settings) -> list[Backtest]:
    """For each series with complete windows in the held-out rows: forecasts by a model of earlier rows, and errors.

    [] if the rows before are too few, missing or equal. There is a weekly naive forecast if the season is a day, and
    all these series have a week before their first forecast.
    """
    try:
        fitted = fit_series(series, settings, held_out=True)
    except DataError:
        return []
    tests = [(place, one, *one.held_out()) for place, one in enumerate(fitted) if not one.flawed]
    tests = [test for test in tests if len(test[2])]
    F = settings.horizon
    m = fitted[0].model.season
    seasons = {"naive": 1, "seasonal_naive": m}
    times: Any = max((one.given.times or () for one in fitted), key=len)
    is_day = len(times) > m > 1 and times[m] - times[0] == timedelta(days=1)
    if is_day and all(origins[0] >= 7 * m for _, _, origins, _ in tests):
        seasons["weekly_naive"] = 7 * m

    def scored(test: tuple[int, OneSeries, HostArray, HostArray]) -> Backtest:
        place, one, origins, actual = test
        quantiles = one.quantiles_held_out(origins)
        filled = fill(one.without_outliers, m)
        naive = {name: seasonal_naive(filled, origins, F, season) for name, season in seasons.items()}
        others = naive | {"drift": drift(filled, origins, F)}
        scores = scores_of(actual, quantiles, others, one.model.levels, _score_unit(one))
        return Backtest(place, one, origins, quantiles, naive["seasonal_naive"], scores)

    return each_of(tests, "backtest", scored)


def scores_of(
    actual: HostArray, quantiles: HostArray, others: dict[str, HostArray], levels: tuple[float, ...], unit: float
) -> Scores:
    """The scores of the model, from its quantiles (N, F, Q), and of the others, from their forecasts (N, F).

    actual   (N, F), NaN for an outlier;   unit: the divisor of the errors
    """
    scores: Scores = {}
    for name, values in {"model": quantiles[..., levels.index(0.5)], **others}.items():
        error = np.abs(actual - values)
        size = np.abs(actual) + np.abs(values)
        smape = np.nanmean(200 * error / np.maximum(size, 1e-300))
        steps = np.nanmean(error, axis=0) / unit
        scores[name] = {"mase": float(steps.mean()), "smape": float(smape), "steps": steps.tolist()}
    inside = ((quantiles[..., 0] <= actual) & (actual <= quantiles[..., -1]))[~np.isnan(actual)]
    above = actual[..., None] - quantiles
    q = np.array(levels)
    pinball = np.nanmean(np.maximum(q * above, (q - 1) * above)) / unit
    scores["model"] |= {"coverage": float(inside.mean()), "pinball": float(pinball)}
    return scores


def _score_unit(one: OneSeries) -> float:
    """The mean change over a season in the rows before the held-out ones, without the outliers among all rows.

    Some of these outliers are only known by later rows. With them, the errors would look too small. No forecast uses
    this number: it divides the errors of all methods.
    """
    unit = mase_divisor(one.without_outliers[: one.cut], one.model.season) * one.left_out.factor
    return one.mase_divisor if np.isnan(unit) else unit


def mean_scores(tests: Sequence[Backtest]) -> Scores:
    """The scores by method: means over the series, which have the same weight."""
    return {
        method: {name: np.mean([test.scores[method][name] for test in tests], axis=0).tolist() for name in of_method}
        for method, of_method in tests[0].scores.items()
    }


def seasonal_naive(values: HostArray, origins: HostArray, horizon: int, season: int) -> HostArray:
    """The last `season` of values (T,), repeated: (N, F)."""
    return values.take(origins[:, None] - season + np.arange(horizon) % season)


def drift(values: HostArray, origins: HostArray, horizon: int) -> HostArray:
    """The line from the first value to the last one before each origin, continued: (N, F)."""
    slope = (values[origins - 1] - values[0]) / np.maximum(origins - 1, 1)
    return values[origins - 1, None] + slope[:, None] * np.arange(1, horizon + 1)
