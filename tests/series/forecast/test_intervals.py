"""The intervals of forecasts."""

from __future__ import annotations

import numpy as np

from tests.commands.runs import growth
from tests.series.forecast.tiny import TINY, fit_of, forecast_of, forecaster_of, series
from xrnn.series.forecast.estimator import next_steps
from xrnn.series.forecast.fit import quantile_offsets

LEVELS = (0.1, 0.5, 0.9)


def test_offsets_move_quantiles_but_not_the_median() -> None:
    one, at = fit_of(growth() - 10, **TINY), np.array([9, 30, 41])  # negative values have no logarithms
    one.model.offsets = np.array([-1.0, 0.0, 0.5]) * np.arange(1, 4)[:, None]
    np.testing.assert_allclose(one.quantiles(at), one.plain(at)[..., None] + one.unit * one.model.offsets)


def test_the_errors_are_those_of_forecasts_that_have_not_seen_the_values() -> None:
    """The last fifth is noise of ten deviations. Errors in rows that were learnt from would be smaller."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(300) * np.repeat([1, 10], [240, 60])
    quantiles = forecast_of(values, season=1)
    assert 0.5 * 2 * 1.28 * 4.5 < np.ptp(quantiles, axis=1).mean() < 2 * 2 * 1.28 * 10


def test_offsets_have_the_widths_of_the_steps_and_the_shares_of_the_levels() -> None:
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((4000, 5)) * np.arange(1, 6)
    offsets = quantile_offsets(errors, LEVELS)
    np.testing.assert_allclose(offsets / np.arange(1, 6)[:, None], np.tile([-1.28, 0, 1.28], (5, 1)), atol=0.08)
    below = (errors[..., None] <= offsets).mean(axis=(0, 1))
    np.testing.assert_allclose(below[[0, 2]], [0.1, 0.9], atol=0.01)
    assert quantile_offsets(errors[:, :1], (0.5,)).shape == (1, 1)
    falling = quantile_offsets(errors[:, ::-1], LEVELS)
    assert (falling[:, 2] > 0).all()
    np.testing.assert_allclose(falling, np.tile(falling[:1], (5, 1)))


def test_no_quantile_crosses_the_median_and_few_errors_widen_both_sides() -> None:
    """Errors of one sign: their 0.1 quantile is above 0."""
    errors = np.random.default_rng(0).uniform(1, 2, (400, 3))
    offsets = quantile_offsets(errors, LEVELS)
    assert (offsets[:, 0] <= 0).all()
    assert (offsets[:, 2] > 1.8).all()
    few = quantile_offsets(errors[:3], LEVELS)
    assert (few[:, 0] < -1).all()
    assert (few[:, 2] > offsets[:, 2]).all()
    errors[350:, 1:] = np.nan
    np.testing.assert_allclose(quantile_offsets(errors, LEVELS), offsets, atol=0.02)


def test_a_series_too_short_for_a_backtest_has_intervals() -> None:
    """Without left-out windows, their widths are those of the errors of exponential smoothing."""
    t = np.arange(40)
    values = 100 + 10 * np.sin(np.pi * t / 6) + np.random.default_rng(0).standard_normal(40)
    one = fit_of(values, horizon=12, season=12)
    assert one.model.context == 24  # two seasons, so that there is a mean of seasons
    quantiles = next_steps(one).values
    later = 100 + 10 * np.sin(np.pi * np.arange(40, 52) / 6)
    assert ((quantiles[:, 0] < later) & (later < quantiles[:, 2])).mean() > 0.7
    assert (quantiles[:, 2] - quantiles[:, 0]).max() < 16


def test_earlier_rows_that_do_not_change_are_left_to_exponential_smoothing() -> None:
    """A series that is 0 up to its last fifth."""
    noise = np.random.default_rng(0).standard_normal(40)
    assert (fit_of(np.append(np.zeros(160), 5 + noise), horizon=3).model.offsets[:, 2] > 0).all()


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
        forecaster = forecaster_of(values[:600], horizon=14, season=7, target="y", known="promo")
        for rows in range(600, 940, 14):
            q = forecaster.forecast(series(values[: rows + 14]), rows).values
            for quantiles, value, on in zip(q, y[rows:], promo[rows:] > 0, strict=False):
                inside[bool(on)].append(bool(quantiles[0] <= value <= quantiles[2]))
    assert 0.72 <= np.mean(inside[True]) <= 0.88
    assert 0.72 <= np.mean(inside[False]) <= 0.88
