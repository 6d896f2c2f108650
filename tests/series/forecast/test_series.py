"""One series: missing and extreme values, and the limits of its forecasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.errors import one_line
from tests.series.forecast.tiny import TINY, fit_of, forecast_of, forecaster_of, series, settings_of
from xrnn.series import Forecaster
from xrnn.series.errors import DataError
from xrnn.series.forecast.fit import backtest, fit_series
from xrnn.series.forecast.series import OneSeries, fill, mase_divisor
from xrnn.series.one_series import Series
from xrnn.typing import HostArray


def test_missing_values_are_filled_from_the_past() -> None:
    nan = np.nan
    np.testing.assert_array_equal(fill(np.array([nan, 1, 2, nan, 4, nan]), 2), [1, 1, 2, 1, 4, 1])
    values = growth()
    values[20:22] = nan
    windows = fit_of(values, **TINY).actual(np.arange(8, 58))
    np.testing.assert_array_equal(8 + np.flatnonzero(np.isnan(windows).any(axis=1)), [18, 19, 20, 21])


def test_the_divisor_of_the_mase() -> None:
    assert mase_divisor(np.array([1.0, 2, 4, np.nan, 9]), 2) == 4
    assert mase_divisor(np.array([1.0, 4, 1, 4]), 2) == 3  # strictly periodic
    assert np.isnan(mase_divisor(np.ones(4), 2))
    for values, season in (([1.0, np.nan, np.nan, 2], 2), ([1, np.nan, 3, np.nan, 5], 3), ([1, np.nan], 1), ([7], 2)):
        assert np.isnan(mase_divisor(np.array(values, float), season))  # no two known values to compare


def trained_on_logarithms() -> tuple[Forecaster, HostArray]:
    t = np.arange(80.0)
    values = np.exp(0.05 * t) * (1.5 + np.sin(np.pi * t / 2))
    trained = forecaster_of(values)
    assert trained.model_.log
    return trained, values


def test_a_model_of_logarithms_repeats_a_series_without_a_positive_value() -> None:
    trained, values = trained_on_logarithms()
    forecast = trained.forecast(Series(0 * values[:, None], None, "n"))
    assert forecast.flawed
    np.testing.assert_array_equal(forecast.forecast, np.zeros((4, 3)))
    values[[3, 50]] = 0
    assert np.isfinite(trained.forecast(Series(values[:, None], None, "n")).forecast).all()


@pytest.mark.parametrize("last", [1e30, 1e-30, 0.0, -1e30])
def test_a_wrong_last_value_is_not_continued_without_bound(last: float) -> None:
    """Forecasts of logarithms stay near the range of the past values: a factor of e³ per usual change."""
    trained, values = trained_on_logarithms()
    later = np.exp(0.05 * np.arange(80, 84)) * (1.5 + np.sin(np.pi * np.arange(80, 84) / 2))
    np.testing.assert_allclose(trained.forecast(Series(values[:, None], None, "n")).median, later, rtol=0.1)
    trained.model_ = replace(trained.model_, linear=30 * trained.model_.linear)  # far more than a fit gives
    values[-1] = last
    got = trained.forecast(Series(values[:, None], None, "n"))
    past = np.log(np.maximum(values, 0.01 * values[values > 0].min()))
    margin = 3 * mase_divisor(np.log(np.where(values > 0, values, np.nan)), 4)
    logarithms = np.log(got.forecast)
    assert (logarithms >= past.min() - margin - 1e-9).all()
    assert (logarithms <= past.max() + margin + 1e-9).all()


def test_values_near_the_limits_of_numbers_are_forecast() -> None:
    """Also if their logarithms are equal."""
    values = np.exp(np.linspace(-69, 69, 80)) * np.tile([1.0, 1.5, 2, 0.5], 20)
    assert np.isfinite(forecast_of(values[10:70])).all()
    assert np.isfinite(forecast_of(1e20 + 16384.0 * (np.arange(80) % 4))).all()


def test_a_series_without_negative_values_gets_no_negative_forecast() -> None:
    values = np.random.default_rng(0).poisson(0.4, 90).astype(float)
    quantiles = forecast_of(values)
    assert (quantiles >= 0).all()
    assert (quantiles[:, 0] == 0).any()
    assert (forecast_of(values - 1)[:, 0] < 0).any()


def test_the_interval_of_a_series_that_falls_to_0_is_not_empty() -> None:
    values = np.append(50 + np.random.default_rng(1).standard_normal(60).cumsum(), [30, 15, 5, 0.0, 0.0])
    quantiles = forecast_of(values, horizon=6, season=1)
    np.testing.assert_array_equal(quantiles[3:, :2], 0)
    assert (quantiles[:, 2] > 0.5).all()


def test_a_series_whose_neighbours_are_unknown_has_no_scale() -> None:
    """Its MASE would have the unit of its values: it is refused alone, and not scored among others."""
    sparse = np.arange(80.0)
    settings = {"horizon": 1, "season": 1}
    sparse[1::2] = np.nan
    with one_line(DataError, "s has too few rows, missing or equal values"):
        forecaster_of(sparse, **settings)
    assert [each.place for each in backtest([series(growth()), series(sparse)], settings_of(**settings))] == [0]
    trained = forecaster_of(growth(), sparse, **settings)
    assert trained.forecast(series(sparse[:41])).flawed
    assert not trained.forecast(series(np.append(sparse[:41], 41.0))).flawed


def test_the_known_columns_of_a_series_that_does_not_change_may_be_empty() -> None:
    rng = np.random.default_rng(0)
    columns = np.stack([np.append(growth(), [np.nan] * 3), rng.random(63)], axis=1)
    short = np.array([[2.0, np.nan], [2.0, np.nan]])
    _, one = fit_series([series(columns), series(short)], settings_of(**TINY, target="v", known="k"))
    np.testing.assert_array_equal(one.median, 2)


def test_a_walk_beside_series_that_grow_by_a_percentage_does_not_grow_so() -> None:
    """Logarithms help the others. The changes of the walk do not grow with its level: they hold for it no longer."""
    t = np.arange(120)
    for seed in range(314, 326):
        rng = np.random.default_rng(seed)
        steps = rng.uniform(0.2, 0.8) + rng.standard_normal(29) * rng.uniform(0.3, 1.5)
        walk = 1.7 + np.append(0, steps).cumsum()
        rng = np.random.default_rng(seed + 1000)
        others = [
            100 + 20 * np.sin(2 * np.pi * t / 12) + 3 * rng.standard_normal(120),
            rng.poisson(6, 100) + 0.0,
            50 + rng.standard_normal(90).cumsum(),
            10 * np.exp(0.02 * t[:80] + 0.05 * rng.standard_normal(80)),
        ]
        forecast = Forecaster(horizon=12).fit([walk, *others]).predict()[0]
        assert forecast.max() < walk.max() + 0.9 * np.ptp(walk), seed
        assert forecast.min() > walk.min() - 0.9 * np.ptp(walk), seed


def test_a_model_of_logarithms_takes_those_of_growth_by_a_percentage_only() -> None:
    rng = np.random.default_rng(76_000)
    t = np.arange(96)
    growing = np.exp(0.03 * t + 0.3 * np.sin(np.pi * t / 6) + 0.1 * rng.standard_normal(96))
    walk = 2 + np.maximum.accumulate(0.5 * t + rng.standard_normal(96).cumsum().clip(0))
    one = fit_of(growing, season=12)
    assert one.model.log
    assert one.log
    assert not OneSeries(series(walk), one.model).log


def panels() -> list[HostArray]:
    """Series that are exact for some rows, so that errors there are rounding; or noisy, with a late start."""
    t = np.arange(60.0)
    rng = np.random.default_rng(77_000)
    growth_of = [10 * np.exp(0.02 * t + 0.05 * rng.standard_normal(60)) for _ in range(3)]
    late = 10 * np.exp(0.02 * t)
    late[:40] = np.nan
    exact = [5 + 0.5 * t, np.resize([1.0, 2, 5, 3], 60), late]
    late_and_noisy = np.where(t < 35, np.nan, growth_of[2])
    return [
        np.array(exact),
        np.array([*growth_of, np.where(t < 30, 100.0, 3 * growth_of[0])]),
        np.array([*growth_of[:2], late_and_noisy]),
    ]


@pytest.mark.filterwarnings("ignore:.*all values before row 31 are")
@pytest.mark.parametrize("factor", [256.0, 1e-3])
def test_the_forecast_of_a_multiple_is_the_multiple_of_the_forecast(factor: float) -> None:
    for panel in panels():
        for season in (1, 12):
            plain, of_multiple = (
                Forecaster(horizon=6, season=season).fit(values).predict_quantiles()
                for values in (panel, factor * panel)
            )
            np.testing.assert_allclose(of_multiple / factor, plain, rtol=1e-4)
