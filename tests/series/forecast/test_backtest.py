"""The backtest: forecasts of held-out rows, and their errors beside those of naive forecasts."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.series.forecast.tiny import TINY, fit_of, params, series
from xrnn.series.forecast.fit import backtest, drift, mean_scores, seasonal_naive
from xrnn.series.forecast.series import mase_divisor


def test_errors_are_those_of_forecasts_from_each_held_out_row_by_a_model_of_the_rows_before() -> None:
    values = growth(40) + np.random.default_rng(0).normal(0, 2, 40)
    (test,) = backtest([series(values)], params(**TINY))
    assert test.origins.tolist() == [32, 33, 34, 35, 36, 37]
    np.testing.assert_array_equal(test.forecasts, fit_of(values, held_out=True, **TINY).quantiles(test.origins))
    changed = np.append(values[:32], 1e3 * values[32:])
    np.testing.assert_array_equal(backtest([series(changed)], params(**TINY))[0].forecasts[0], test.forecasts[0])
    actual = values[test.origins[:, None] + np.arange(3)]
    unit = np.abs(values[4:32] - values[:28]).mean()
    np.testing.assert_allclose(
        test.scores["model"]["steps"], np.abs(test.forecasts[..., 1] - actual).mean(axis=0) / unit
    )
    inside = (test.forecasts[..., 0] <= actual) & (actual <= test.forecasts[..., 2])
    assert test.scores["model"]["coverage"] == inside.mean()
    assert test.scores["model"]["mase"] == pytest.approx(np.abs(test.forecasts[..., 1] - actual).mean() / unit)
    relative = 200 * np.abs(test.forecasts[..., 1] - actual) / (np.abs(test.forecasts[..., 1]) + np.abs(actual))
    assert test.scores["model"]["smape"] == pytest.approx(relative.mean())
    above, q = actual[..., None] - test.forecasts, np.array([0.1, 0.5, 0.9])
    loss = np.where(above > 0, q * above, (q - 1) * above)
    assert test.scores["model"]["pinball"] == pytest.approx(loss.mean() / unit)
    repeated = values[test.origins[:, None] - 4 + np.arange(3)]
    np.testing.assert_allclose(test.scores["seasonal_naive"]["steps"], np.abs(repeated - actual).mean(axis=0) / unit)
    last = values[test.origins - 1, None]
    np.testing.assert_allclose(test.scores["naive"]["steps"], np.abs(last - actual).mean(axis=0) / unit)


def test_means_give_each_series_the_same_weight() -> None:
    rng = np.random.default_rng(0)
    tests = backtest([series(growth()), series(np.ones(9)), series(rng.random(30))], params(**TINY))
    assert [test.place for test in tests] == [0, 2]
    for method, scores in mean_scores(tests).items():
        for name, mean in scores.items():
            np.testing.assert_allclose(mean, np.mean([test.scores[method][name] for test in tests], axis=0))


def test_there_is_none_if_the_rows_before_it_do_not_change_or_are_too_few() -> None:
    assert backtest([series(np.append(np.ones(40), growth(10)))], params(**TINY)) == []
    assert backtest([series(growth(6))], params(**TINY)) == []


def test_hours_are_also_compared_with_the_week_before() -> None:
    week = np.random.default_rng(0).normal(50, 9, 168)
    for weeks, expected in ((4, True), (1, False)):
        times = tuple(datetime(2024, 1, 1) + timedelta(hours=i) for i in range(168 * weeks))
        (test,) = backtest([series(np.tile(week, weeks), times=times)], params(horizon=3))
        assert ("weekly_naive" in test.scores) == expected
    (test,) = backtest([series(np.tile(week, 4))], params(horizon=3, season=24))  # without times
    assert "weekly_naive" not in test.scores


def test_the_naive_forecast_repeats_the_last_season() -> None:
    np.testing.assert_array_equal(seasonal_naive(np.arange(10.0), np.array([8, 4]), 3, 2), [[6, 7, 6], [2, 3, 2]])


def test_the_divisor_of_the_mase() -> None:
    assert mase_divisor(np.array([1.0, 2, 4, np.nan, 9]), 2) == 4
    assert mase_divisor(np.array([1.0, 4, 1, 4]), 2) == 3  # strictly periodic
    assert np.isnan(mase_divisor(np.ones(4), 2))
    for values, season in (([1.0, np.nan, np.nan, 2], 2), ([1, np.nan, 3, np.nan, 5], 3), ([1, np.nan], 1), ([7], 2)):
        assert np.isnan(mase_divisor(np.array(values, float), season))  # no two known values to compare


def test_the_drift_continues_the_line_from_the_first_to_the_last_value() -> None:
    values = np.array([1.0, 9, 9, 7, 0])
    np.testing.assert_allclose(drift(values, np.array([4, 1]), 2), [[9, 11], [1, 1]])
