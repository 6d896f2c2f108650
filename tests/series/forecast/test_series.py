"""One series: missing and extreme values, and the limits of its forecasts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.errors import one_line
from tests.series.forecast.tiny import LEVELS, SMALL, TINY, fit_of, forecast_of, forecaster_of, params, series
from xrnn.series import Forecaster
from xrnn.series.checks import Series
from xrnn.series.errors import DataError
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.forecasts import next_steps
from xrnn.series.forecast.intervals import Intervals
from xrnn.series.forecast.series import mase_divisor
from xrnn.series.forecast.windows import fill
from xrnn.typing import HostArray


def test_missing_values_are_filled_from_the_past() -> None:
    nan = np.nan
    np.testing.assert_array_equal(fill(np.array([nan, 1, 2, nan, 4, nan]), 2), [1, 1, 2, 1, 4, 1])
    values = growth()
    values[20:22] = nan
    (one,) = fit_series([series(values)], params(**TINY)).series
    assert not {18, 19, 20, 21} & {*one.training_origins.tolist()}


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


def test_a_series_without_negative_values_gets_no_negative_forecast() -> None:
    values = np.random.default_rng(0).poisson(0.4, 90).astype(float)
    quantiles = forecast_of(values)
    assert (quantiles >= 0).all()
    assert (quantiles[:, 0] == 0).any()
    assert (forecast_of(values - 1)[:, 0] < 0).any()


def test_a_series_whose_neighbours_are_unknown_has_no_scale() -> None:
    """Its MASE would have the unit of its values: it is refused alone, and not scored among others."""
    sparse, settings = np.arange(80.0), params(**TINY | {"horizon": 1, "season": 1})
    sparse[1::2] = np.nan
    with one_line(DataError, "s has too few rows, missing or equal values"):
        fit_series([series(sparse)], settings)
    fit = fit_series([series(growth()), series(sparse)], settings)
    assert fit.backtest is not None
    assert (fit.backtest.scored, fit.backtest.unscored.count("1 of 2 series")) == ([0], 1)
    trained = forecaster_of(settings, fit)
    assert trained.forecast(series(sparse[:41])).flaw
    assert not trained.forecast(series(np.append(sparse[:41], 41.0))).flaw


def test_the_known_columns_of_a_short_series_may_be_empty() -> None:
    rng = np.random.default_rng(0)
    columns = np.stack([np.append(growth(), [np.nan] * 3), rng.random(63)], axis=1)
    short = np.array([[1.0, np.nan], [2.0, np.nan]])
    settings = params(**TINY | {"target": "v", "known": "k"})
    fit = fit_series([series(columns), series(short)], settings)
    np.testing.assert_array_equal(next_steps(fit.series[1], Intervals.of(fit, LEVELS)).median, 2)
