"""The linear part of a forecaster, and what is chosen from the rows to train on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.series.forecast.tiny import forecaster_of, params
from xrnn.series import Forecaster
from xrnn.series.checks import Series
from xrnn.series.errors import DataError
from xrnn.series.forecast.calendar import calendar_of, columns
from xrnn.series.forecast.fit import Fit, fit_series
from xrnn.series.forecast.forecasts import next_steps
from xrnn.series.forecast.intervals import Intervals, quantile_offsets
from xrnn.series.forecast.linear import Moments, candidates, effect_of, repeated, ridge
from xrnn.series.forecast.series import mase_divisor
from xrnn.series.times import step_of
from xrnn.typing import HostArray

SMALL: dict[str, Any] = {"horizon": 4, "season": 4}


def fit_of(values: HostArray, **settings: Any) -> Fit:
    columns = values if values.ndim == 2 else values[:, None]
    return fit_series([Series(columns, None, "s")], params(**SMALL | settings))


def forecast_of(values: HostArray, **settings: Any) -> HostArray:
    """The quantiles (F, Q)."""
    fit = fit_of(values, **settings)
    return next_steps(fit.series[0], Intervals.of(fit, (0.1, 0.5, 0.9))).values


def test_ridge_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((30, 5)) + 3, rng.standard_normal((30, 2)) - 1
    for penalty, W in zip((0.1, 10.0), ridge(A.T @ A, (0.1, 10.0))(A.T @ B), strict=True):
        np.testing.assert_allclose((A.T @ A + penalty * np.eye(5)) @ W, A.T @ B, atol=1e-9)


def moments(z: HostArray, ahead: HostArray) -> tuple[Moments, Moments]:
    """Of the windows whose values ahead are known, and of those whose first one is."""
    complete, first = ~np.isnan(ahead).any(axis=1), ~np.isnan(ahead[:, 0])
    return Moments.of(z[complete], ahead[complete]), Moments.of(z[first], ahead[first, :1])


def solved(A: HostArray, B: HostArray, penalties: list[float]) -> list[HostArray]:
    """W and, in the last row, the intercept, which is not penalised."""
    x, a, b = A - A.mean(axis=0), A.mean(axis=0), B.mean(axis=0)
    each = [np.linalg.solve(x.T @ x + penalty * np.eye(A.shape[1]), x.T @ (B - b)) for penalty in penalties]
    return [np.vstack([W, b - a @ W]) for W in each]


def test_a_repeated_step_is_the_recurrence() -> None:
    rng = np.random.default_rng(0)
    w, z = rng.standard_normal(5) / 3, rng.standard_normal(5)
    values = list(z)
    for _ in range(7):
        values.append(float(np.dot(w, values[-5:]) + 0.2))
    M = repeated(w, 0.2, 7)
    np.testing.assert_allclose(z @ M[:-1] + M[-1], values[5:])


@pytest.mark.parametrize(("season", "F"), [(1, 1), (1, 4), (3, 2)])
def test_every_candidate_continues_a_constant_and_one_a_noisy_average(season: int, F: int) -> None:
    """A constant context is 0 after scaling, as are the values ahead."""
    z = np.zeros((20, 7))
    for M in candidates(*moments(z, np.zeros((20, F))), season):
        assert M.shape == (8, F)
        np.testing.assert_allclose(M[-1], 0, atol=1e-12)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 7))
    of = moments(z, rng.standard_normal((4000, F)))
    errors = [np.abs(z @ M[:-1] + M[-1]).mean() for M in candidates(*of, season)]
    assert min(errors) < 0.05


def test_candidates_from_moments_are_regressions_on_the_windows() -> None:
    """Also if the moments are added up from parts, of windows far from 0, whose last values ahead may be unknown."""
    rng = np.random.default_rng(0)
    z, ahead = rng.standard_normal((50, 8)) + 100, rng.standard_normal((50, 3)) - 100
    ahead[::7, 2] = ahead[::9] = np.nan
    parts = [moments(z[part], ahead[part]) for part in (slice(20), slice(20, 21), slice(21, None))]
    of_all, of_first = (one.plus(two).plus(three) for one, two, three in zip(*parts, strict=True))
    maps = list(candidates(of_all, of_first, 4))
    complete, first = ~np.isnan(ahead).any(axis=1), ~np.isnan(ahead[:, 0])
    naive = repeated(np.eye(8)[4], 0.0, 3)
    error = ahead[complete] - z[complete] @ naive[:-1]
    for W in solved(z[complete, 4:], error, [0.1, 100.0]):
        direct = naive.copy()
        direct[4:] += W
        assert any(np.allclose(M, direct, atol=1e-9) for M in maps)
    for W in solved(z[first, 4:], ahead[first, :1] - z[first, 4:5], [1.0]):
        w = np.eye(8)[4]
        w[4:] += W[:-1, 0]
        assert any(np.allclose(M, repeated(w, float(W[-1, 0]), 3), atol=1e-9) for M in maps)


def test_the_effect_of_a_known_column_is_found_and_one_without_effect_is_0() -> None:
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((200, 3))
    columns[:, 2] = 1  # its changes are 0
    values = 3 * columns[:, 0] + 0.1 * rng.standard_normal(200)
    values[7] = np.nan
    np.testing.assert_allclose(effect_of([(values, columns)], 3), [3, 0, 0], atol=0.05)
    np.testing.assert_array_equal(effect_of([(values[:4], columns[:4])], 3), 0)


def test_a_line_with_a_season_is_continued() -> None:
    t = np.arange(84.0)
    values = t + 5 * (t % 4)
    np.testing.assert_allclose(forecast_of(values[:80])[:, 1], values[80:], rtol=5e-3)


@pytest.mark.parametrize("growth", [-1.2, 1.2])
def test_an_unstable_candidate_is_left_out(growth: float) -> None:
    """One step of such a series, repeated, grows without bound."""
    values = growth ** np.arange(80.0) + np.random.default_rng(0).standard_normal(80)
    assert np.isfinite(forecast_of(values, horizon=20)).all()
    assert np.isfinite(forecast_of(np.sin(values), horizon=20)).all()


def test_multiplicative_growth_gets_logarithms_and_additive_growth_does_not() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(120.0)
    season = np.sin(np.pi * t / 2)
    growing = np.exp(0.03 * t + 0.3 * season + 0.02 * rng.standard_normal(120))
    fit = fit_of(growing[:116])
    assert fit.facts.log
    assert fit.backtest is not None
    assert fit.backtest.facts.log
    quantiles = forecast_of(growing[:116])
    np.testing.assert_allclose(quantiles[:, 1], growing[116:], rtol=0.1)
    assert (quantiles > 0).all()
    assert not fit_of(20 + 3 * t + 10 * season + rng.standard_normal(120)).facts.log
    assert not fit_of(growing - 5).facts.log  # some values are negative


def test_a_series_without_negative_values_gets_no_negative_forecast() -> None:
    values = np.random.default_rng(0).poisson(0.4, 90).astype(float)
    quantiles = forecast_of(values)
    assert (quantiles >= 0).all()
    assert (quantiles[:, 0] == 0).any()
    assert (forecast_of(values - 1)[:, 0] < 0).any()


def test_a_known_column_is_used() -> None:
    """y = 3 promo + sin(t / 3) + 0.1 noise, 300 rows: the mean absolute error is at most 0.3."""
    rng = np.random.default_rng(0)
    t = np.arange(306)
    promo = rng.random(306) < 0.2
    y = 3 * promo + np.sin(t / 3) + 0.1 * rng.standard_normal(306)
    values = np.stack([np.where(t < 300, y, np.nan), promo], axis=1)
    quantiles = forecast_of(values, target="y", known="promo", horizon=6, season=0)
    assert np.abs(quantiles[:, 1] - y[300:]).mean() <= 0.3


def test_held_out_rows_change_no_choice() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(100.0)
    values = np.exp(0.02 * t + 0.2 * np.sin(np.pi * t / 2) + 0.05 * rng.standard_normal(100))
    columns = np.stack([np.append(values, [np.nan] * 4), rng.standard_normal(104)], axis=1)
    changed = columns.copy()
    changed[80:100] = rng.standard_normal((20, 2)) * 50  # negative values too, which have no logarithm
    trained = []
    for each in (columns, changed):
        fit = fit_of(each, target="v", known="k").backtest
        assert fit is not None
        assert [each.cut for each in fit.series] == [80]
        trained.append(forecaster_of(params(**SMALL, target="v", known="k"), fit))
    one, other = trained
    assert (one.facts_, one.smoothing_, one.spread_) == (other.facts_, other.smoothing_, other.spread_)
    assert one.facts_.log
    for name in one._shapes():
        np.testing.assert_array_equal(getattr(one, f"{name}_"), getattr(other, f"{name}_"), err_msg=name)


@pytest.mark.parametrize("calendar", ["auto", pytest.param("none", marks=pytest.mark.proof)])
def test_hours_have_a_season_of_a_day_and_one_of_a_week(calendar: str) -> None:
    """The noise of one deviation is what remains, if the weekends are known."""
    rng = np.random.default_rng(0)
    times = [datetime(2024, 1, 3) + timedelta(hours=i) for i in range(33 * 24)]  # a Wednesday
    is_weekend = np.array([time.weekday() > 4 for time in times])
    wave = np.sin(2 * np.pi * np.arange(len(times)) / 24)
    values = 50 + 10 * wave * ~is_weekend - 20 * is_weekend + rng.standard_normal(len(times))
    rows = 31 * 24 - 12  # Friday noon
    settings = params(horizon=24, calendar=calendar)
    series = Series(values[:rows, None], None, "s", times=tuple(times[:rows]))
    fit = fit_series([series], settings, backtest=False)
    assert (fit.facts.season, fit.facts.calendar) == (24, "week" if calendar == "auto" else "")
    trained = forecaster_of(settings, fit)
    error = np.abs(trained.forecast(series).median - values[rows : rows + 24]).mean()
    assert error < 2 if calendar == "auto" else error > 4
    if calendar == "auto":
        with one_line(DataError, "s has no dates, and the model uses the week: expected dates; add a column or"):
            trained.forecast(Series(series.values, None, "s"))


def test_a_calendar_that_does_not_help_is_left_out() -> None:
    times = tuple(datetime(2020, 1, 1) + timedelta(days=i) for i in range(800))
    values = np.random.default_rng(0).standard_normal(800).cumsum()
    settings = params(horizon=4)
    assert calendar_of(step_of(times, "s"), 800) == "year"
    assert fit_series([Series(values[:, None], None, "s", times=times)], settings, backtest=False).facts.calendar == ""
    year = 10 * np.sin(2 * np.pi * np.arange(800) / 365.25) + np.random.default_rng(0).standard_normal(800)
    assert fit_series([Series(year[:, None], None, "s", times=times)], settings).facts.calendar in ("", "year")


def test_calendar_columns() -> None:
    hours = [datetime(2024, 1, 1, 6), datetime(2024, 1, 6, 6, tzinfo=UTC), datetime(2024, 1, 7)]
    week = columns("week", hours, np.array([[2.0], [0.0], [3.0]]))
    np.testing.assert_allclose(
        week,
        [[0] * 11 + [-2, 2, 0], [0, 0, 0, 0, 1, 0, 0, -1, 1, 0] + [0] * 4, [0] * 5 + [1, 1, 1, 0, 0, 3, 3, 0, 0]],
        atol=1e-12,
    )
    year = columns("year", [datetime(2024, 1, 1), datetime(2023, 7, 2, 15)], np.zeros((2, 1)))
    np.testing.assert_allclose(year[0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(year[1, :3], [-1, 1, -1], atol=1e-3)
    minutes = [datetime(2024, 1, 1) + timedelta(minutes=10 * i) for i in range(20)]
    step = step_of(minutes, "s")
    assert [calendar_of(step, rows) for rows in (2 * 1008, 2 * 1008 - 1)] == ["week", ""]
    assert calendar_of(step_of([datetime(2024, m, 1) for m in range(1, 9)], "s"), 999) == ""
    assert calendar_of(None, 999) == ""


def trained_on_logarithms() -> tuple[Forecaster, HostArray]:
    t = np.arange(80.0)
    values = np.exp(0.05 * t) * (1.5 + np.sin(np.pi * t / 2))
    trained = forecaster_of(params(**SMALL), fit_of(values))
    assert trained.facts_.log
    return trained, values


def test_a_model_of_logarithms_repeats_a_series_without_a_positive_value() -> None:
    trained, values = trained_on_logarithms()
    forecast = trained.forecast(Series(-values[:, None], None, "n"))
    assert "expected at least 4 rows with positive values that change; add rows" in forecast.flaw
    np.testing.assert_allclose(forecast.values, np.tile(-values[-4:, None], 3))
    values[[3, 50]] = 0
    assert np.isfinite(trained.forecast(Series(values[:, None], None, "n")).values).all()


@pytest.mark.parametrize("last", [1e30, 1e-30, 0.0, -1e30])
def test_a_wrong_last_value_is_not_continued_without_bound(last: float) -> None:
    """Forecasts of logarithms stay near the range of the context: a factor of e³ per usual change."""
    trained, values = trained_on_logarithms()
    later = np.exp(0.05 * np.arange(80, 84)) * (1.5 + np.sin(np.pi * np.arange(80, 84) / 2))
    np.testing.assert_allclose(trained.forecast(Series(values[:, None], None, "n")).median, later, rtol=0.1)
    trained.linear_ *= 30  # far more than a fit gives
    values[-1] = last
    got = trained.forecast(Series(values[:, None], None, "n"))
    context = np.log(np.maximum(values[-trained.facts_.context :], 0.01 * values[values > 0].min()))
    unit = mase_divisor(np.log(np.where(values > 0, values, np.nan)), 4)
    margin = 3 * max(unit, np.sort(np.abs(context[4:] - context[:-4]))[int(0.9 * (len(context) - 5))])
    logarithms = np.log(got.values)
    assert (logarithms >= context.min() - margin - 1e-9).all()
    assert (logarithms <= context.max() + margin + 1e-9).all()


def test_values_near_the_limits_of_numbers_are_forecast() -> None:
    """Also if their logarithms are equal."""
    values = np.exp(np.linspace(-69, 69, 80)) * np.tile([1.0, 1.5, 2, 0.5], 20)
    assert np.isfinite(forecast_of(values[10:70])).all()
    assert np.isfinite(forecast_of(1e20 + 16384.0 * (np.arange(80) % 4))).all()


def test_short_series_are_padded() -> None:
    """The context follows from the median; shorter series are trained on and forecast too."""
    rng = np.random.default_rng(0)
    series = [Series((np.arange(n) / 2 + 0.1 * rng.standard_normal(n))[:, None], None, str(n)) for n in (15, 18, 60)]
    settings = params(horizon=4)
    fit = fit_series(series, settings)
    assert fit.facts.context == 14  # the rows of 18 before the backtest
    trained = forecaster_of(settings, fit)
    for source in series:
        forecast = trained.forecast(source).median
        steps = np.arange(1, 5) / 2
        np.testing.assert_allclose(forecast - source.values[-1, 0], steps, atol=0.4)


def test_a_series_too_short_for_a_backtest_has_intervals() -> None:
    """Without left-out windows, their widths are those of the errors of exponential smoothing."""
    t = np.arange(40)
    values = 100 + 10 * np.sin(np.pi * t / 6) + np.random.default_rng(0).standard_normal(40)
    settings = params(horizon=12, season=12)
    fit = fit_series([Series(values[:, None], None, "s")], settings, backtest=False)
    assert fit.facts.context == 24  # two seasons, so that there is a mean of seasons
    quantiles = next_steps(fit.series[0], Intervals.of(fit, settings.levels)).values
    later = 100 + 10 * np.sin(np.pi * np.arange(40, 52) / 6)
    assert ((quantiles[:, 0] < later) & (later < quantiles[:, 2])).mean() > 0.7
    assert (quantiles[:, 2] - quantiles[:, 0]).max() < 16


def test_offsets_have_the_widths_of_the_steps_and_the_shares_of_the_levels() -> None:
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((4000, 5)) * np.arange(1, 6)
    offsets = quantile_offsets(errors, (0.1, 0.5, 0.9))
    np.testing.assert_allclose(offsets / np.arange(1, 6)[:, None], np.tile([-1.28, 0, 1.28], (5, 1)), atol=0.08)
    below = (errors[..., None] <= offsets).mean(axis=(0, 1))
    np.testing.assert_allclose(below[[0, 2]], [0.1, 0.9], atol=0.01)
    assert quantile_offsets(errors[:, :1], (0.5,)).shape == (1, 1)


def test_no_quantile_crosses_the_median_and_few_errors_widen_both_sides() -> None:
    """Errors of one sign: their 0.1 quantile is above 0."""
    errors = np.random.default_rng(0).uniform(1, 2, (400, 3))
    offsets = quantile_offsets(errors, (0.1, 0.5, 0.9))
    assert (offsets[:, 0] <= 0).all()
    assert (offsets[:, 2] > 1.8).all()
    few = quantile_offsets(errors[:3], (0.1, 0.5, 0.9))
    assert (few[:, 0] < -1).all()
    assert (few[:, 2] > offsets[:, 2]).all()
    errors[350:, 1:] = np.nan
    np.testing.assert_allclose(quantile_offsets(errors, (0.1, 0.5, 0.9)), offsets, atol=0.02)


def test_intervals_are_wider_where_a_known_column_has_a_large_effect() -> None:
    """The noise of days of promotion is five times that of others: 80 % intervals hold 72 to 88 % of both."""
    inside: dict[bool, list[bool]] = {False: [], True: []}
    for seed in range(3):
        rng, t = np.random.default_rng(seed), np.arange(960)
        promo = (rng.random(960) < 0.15) * 1.0
        y = (
            100
            + 10 * np.sin(2 * np.pi * t / 7)
            + promo * (40 + 20 * rng.standard_normal(960))
            + 4 * rng.standard_normal(960)
        )
        values = np.stack([y, promo], axis=1)
        settings = params(horizon=14, season=7, target="y", known="promo")
        forecaster = forecaster_of(settings, fit_series([Series(values[:600], None, "s")], settings, backtest=False))
        for rows in range(600, 940, 14):
            q = forecaster.forecast(Series(values[: rows + 14], None, "s"), rows).values
            for quantiles, value, on in zip(q, y[rows:], promo[rows:] > 0, strict=False):
                inside[bool(on)].append(bool(quantiles[0] <= value <= quantiles[2]))
    assert 0.72 <= np.mean(inside[True]) <= 0.88
    assert 0.72 <= np.mean(inside[False]) <= 0.88


def test_a_known_holiday_has_the_hours_of_a_sunday() -> None:
    """Five holidays on working days are in the training: the error is less than half that of the day before."""
    rng, rows = np.random.default_rng(0), 154 * 24
    day, hour = np.divmod(np.arange(rows), 24)
    holiday = np.isin(day, [17, 44, 66, 94, 129, 150])
    working = 20 + 30 * np.exp(-(((hour - 9) / 3) ** 2)) + 25 * np.exp(-(((hour - 17) / 3) ** 2))
    sunday = 20 + 15 * np.exp(-(((hour - 14) / 4) ** 2))
    values = np.where((day % 7 > 4) | holiday, sunday, working) * np.exp(0.05 * rng.standard_normal(rows))
    cut = 150 * 24
    columns = np.stack([np.where(np.arange(rows) < cut, values, np.nan), holiday], axis=1)[: cut + 24]
    times = tuple(datetime(2024, 1, 1) + timedelta(hours=i) for i in range(cut + 24))
    settings = params(horizon=24, target="v", known="holiday")
    fit = fit_series([Series(columns, None, "s", times=times)], settings, backtest=False)
    (forecast,) = fit.series[0].forecast(np.array([cut]), np.zeros((24, 1)))
    error = np.abs(forecast[:, 0] - values[cut : cut + 24]).mean()
    assert error < 0.5 * np.abs(values[cut - 24 : cut] - values[cut : cut + 24]).mean()
