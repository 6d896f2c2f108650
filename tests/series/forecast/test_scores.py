"""The scores of forecasts, and the simple forecasts beside them."""

from __future__ import annotations

import numpy as np
import pytest

from xrnn.series.forecast.scores import ForecastScores, drift, seasonal_naive, with_quantiles
from xrnn.series.forecast.series import mase_divisor


def test_scores() -> None:
    target = np.array([[1.0, 2, np.nan]])
    forecast = np.stack([target - 1, target + 1, target + 2], axis=-1)
    forecast[0, 1] = [3, 3, 3]
    scores = ForecastScores.of(target, forecast, (0.1, 0.5, 0.9), 2.0)
    assert scores[:3] == pytest.approx((0.5, (200 / 3 + 200 / 5) / 2, 0.5))
    assert scores.pinball == pytest.approx(((0.1 + 0.5 + 0.2) / 3 + (0.9 + 0.5 + 0.1) / 3) / 2 / 2)
    assert (scores.width, scores.steps[:2]) == (3 / 2 / 2, (0.5, 0.5))
    assert np.isnan(scores.steps[2])
    assert mase_divisor(np.array([1.0, 2, 4, np.nan, 9]), 2) == 4
    assert mase_divisor(np.array([1.0, 4, 1, 4]), 2) == 3  # strictly periodic
    assert np.isnan(mase_divisor(np.ones(4), 2))
    for values, season in (([1.0, np.nan, np.nan, 2], 2), ([1, np.nan, 3, np.nan, 5], 3), ([1, np.nan], 1), ([7], 2)):
        assert np.isnan(mase_divisor(np.array(values, float), season))  # no two known values to compare


def test_the_naive_forecast_repeats_the_last_season() -> None:
    values, past = np.arange(10.0), np.array([4, 5, 6])
    errors = values[past[:, None] + np.arange(3)] - seasonal_naive(values, past, 3, 2)
    errors[0] = np.nan
    quantiles = with_quantiles(seasonal_naive(values, np.array([8]), 3, 2), errors, (0.1, 0.5, 0.9))
    np.testing.assert_array_equal(quantiles[0, :, 1], [6, 7, 6])
    np.testing.assert_allclose(quantiles[0, :, 0], [8, 9, 10])  # all errors were 2, 2 and 4


def test_the_drift_continues_the_line_from_the_first_to_the_last_value() -> None:
    values = np.array([1.0, 9, 9, 7, 0])
    np.testing.assert_allclose(drift(values, np.array([4, 1]), 2), [[9, 11], [1, 1]])
