"""The fit of a model to series: its sizes and choices, and the rows that it sees."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.errors import one_line, refused
from tests.series.forecast.tiny import LEVELS, SMALL, TINY, fit_of, forecast_of, forecaster_of, params, series, smoothed
from xrnn.series.checks import Series
from xrnn.series.errors import DataError, SettingsError
from xrnn.series.forecast import linear
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.forecasts import naive_forecasts, next_steps
from xrnn.series.forecast.intervals import Intervals
from xrnn.series.parameters import parse_quantiles


def test_a_forecast_is_the_average_of_exponential_smoothing_and_the_linear_part() -> None:
    fit = fit_series([series(growth() - 10)], params(**TINY)).backtest  # negative values have no logarithms
    assert fit is not None
    (one,), model = fit.series, fit.model
    forecast = Intervals.of(fit, LEVELS).around(one, one.test_origins)
    for n, origin in enumerate(one.test_origins):
        context = growth()[origin - 6 : origin] - 10
        level, scale = context[-4:].mean(), context.std()
        linear_part = level + scale * ((context - level) / scale @ model.linear[:-1] + model.linear[-1])
        (smooth,), share = smoothed(growth() - 10, None, np.array([origin]), 3, 4), model.smoothing
        assert 0 < share < 1
        np.testing.assert_allclose(forecast[n, :, 1], share * smooth + (1 - share) * linear_part)


def test_each_fold_holds_out_the_rows_after_those_it_is_trained_on() -> None:
    folds = fit_series([series(growth()), series(growth(40))], params(**TINY)).folds()
    assert [[each.cut for each in fold.series] for fold in folds] == [[24, 16], [36, 24], [48, 32]]
    assert [[each.rows for each in fold.series] for fold in folds] == [[36, 24], [48, 32], [60, 40]]
    for fold in folds:
        for each in fold.series:
            assert each.training_origins[-1] + 3 == each.cut == each.test_origins[0]
    fit = fit_series([series(growth())], params(**TINY))
    assert fit.backtest is not None
    of_both = [each.series[0] for each in (fit.backtest, fit)]
    assert [(each.cut, each.rows, each.training_origins[-1]) for each in of_both] == [(48, 60, 45), (60, 60, 57)]
    (fold,) = fit_series([series(growth(20))], params(**TINY)).folds()  # of fewer, too few windows
    assert fold.series[0].cut == 16


def test_a_series_shorter_than_two_natural_seasons_has_none() -> None:
    start = datetime(2024, 1, 1)
    for rows, season in ((95, 1), (96, 48)):
        times = tuple(start + timedelta(minutes=30 * i) for i in range(rows))
        fit = fit_series([series(growth(rows), times=times)], params(**TINY | {"season": 0, "context": 0}))
        assert fit.facts.season == season


def test_quantiles() -> None:
    assert parse_quantiles("0.9, 0.05") == (0.05, 0.5, 0.9)
    assert parse_quantiles("0.5") == (0.5,)
    assert parse_quantiles("1e-7,0.30000000000000004") == (1e-7, 0.30000000000000004, 0.5)
    many, alike = ",".join(f"0.{i}" for i in range(1001, 1102)), ("0.1,0.1000000001", "0.5000001", "0.9999999")
    for quantiles in ("0,0.9", "1", "0.1;0.9", "", "x", "nan", "-0.1", "0.1,0.1", many, *alike):
        with one_line(SettingsError, "quantiles is ", ": expected numbers between 0 and 1 that differ in"):
            params(quantiles=quantiles)


def test_bad_series_get_one_line() -> None:
    one, other = (series(growth(), times=tuple(np.delete(np.arange(61.0), i))) for i in (60, 9))
    constant, empty = series(np.ones(40)), series(np.array([[np.nan, 1.0]] * 9))
    tiny = series(1e-300 * (np.arange(40) % 7 - 3))
    flawed = "s has too few rows, missing or equal values: expected at least 4 rows with values that change; add rows"
    refused(
        (DataError, lambda: fit_series([one, other], params(**TINY)), "s has a gap in its times between 8 and 10"),
        (DataError, lambda: fit_series([constant, series(np.zeros(40))], params(**TINY), backtest=False), flawed),
        (
            DataError,
            lambda: fit_series([series(np.ones(1))], params(horizon=1)),
            "expected at least 2 rows with values",
        ),
        (
            DataError,
            lambda: fit_series([tiny], params(**TINY)),
            "s has a standard deviation below 1e-150: expected a larger one; mu",
        ),
        (
            DataError,
            lambda: fit_series([empty], params(**TINY | {"target": "v", "known": "k"})),
            "s has no value to forecast",
        ),
    )


def short_and_long() -> list[Series]:
    """Series with too few rows, equal values, values that are missing, and those to train on."""
    gaps, sparse = growth(), np.full(50, np.nan)
    gaps[1:48:2] = np.nan
    sparse[[0, 18, 36, 47]] = 3, 5, 1, 8
    values = {
        "a": growth(),
        "one": np.array([7.0]),
        "three": np.array([1.0, 2, 4]),
        "constant": np.full(50, 5.0),
        "sparse": sparse,
        "late": np.concatenate([np.full(48, 5.0), growth(12)]),
        "gaps": gaps,
        "zeros": np.zeros(3),
        "b": 3 * growth(50),
    }
    return [replace(series(each), name=name) for name, each in values.items()]


@pytest.mark.parametrize("backtest", [True, False])
def test_series_that_cannot_be_trained_on_change_nothing_and_are_forecast(backtest: bool) -> None:
    every = short_and_long()
    trained = [each for each in every if each.name in ("a", "late", "gaps", "b")]
    fit, other = (fit_series(each, params(**TINY), backtest=backtest) for each in (every, trained))
    assert (fit.facts, other.left_out) == (other.facts, "")
    names, why = "series (one, three, constant, sparse, zeros)", "too few rows, missing or equal values"
    assert fit.left_out == f"no complete window to train on in 5 of 9 {names}: {why}"
    np.testing.assert_array_equal(fit.model.linear, other.model.linear)
    if backtest:
        assert fit.backtest is not None
        assert fit.backtest.scored == [0, 8]
        unscored = "one, three, constant, sparse, late, gaps, zeros"
        assert fit.backtest.unscored == f"not scored: 7 of 9 series ({unscored}): {why}"
    forecasts, of_trained = (
        [next_steps(one, Intervals.of(each, LEVELS)) for one in each.series] for each in (fit, other)
    )
    by_name = {each.name: each for each in forecasts}
    for one in of_trained:
        np.testing.assert_array_equal(by_name[one.name].values, one.values)
    lasts: dict[str, Any] = {"one": 7, "three": 4, "constant": 5, "sparse": [1, 3, 5], "zeros": 0}
    for name, last in lasts.items():
        np.testing.assert_allclose(by_name[name].median, last)
        assert (np.ptp(by_name[name].values, axis=1) > 0).all() == (name == "three")
    assert naive_forecasts(forecasts) == f"naive forecasts for 5 of 9 {names}: {why}"
    saved = forecaster_of(params(**TINY), fit)
    for each, expected in zip(every, forecasts, strict=True):
        np.testing.assert_array_equal(saved.forecast(each).values, expected.values)


def test_series_that_cannot_be_trained_on_do_not_shorten_the_context() -> None:
    settings = params(**TINY | {"context": 0})
    short = [series(growth(n)) for n in (1, 4, 6)]
    alone, among = (fit_series(each, settings) for each in ([series(growth())], [*short, series(growth())]))
    assert alone.facts.context == among.facts.context


def test_a_short_series_has_the_step_of_the_model() -> None:
    """A series of one row has no step of its own."""
    months = tuple(datetime(2020 + i // 12, i % 12 + 1, 1) for i in range(60))
    every = [series(growth(), times=months), series(np.array([3.0]), times=months[-1:])]
    fit = fit_series(every, params(**TINY))
    intervals = Intervals.of(fit, LEVELS)
    for each in fit.series:
        assert next_steps(each, intervals).times == [datetime(2025, m, 1) for m in (1, 2, 3)]


def test_the_samples_of_many_series_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [series(growth(200)), series(2 * growth(100))]
    seen: list[Any] = []

    def average(samples: Any, season: int) -> Any:
        seen.append(samples)
        return linear.average(samples, season)

    monkeypatch.setattr("xrnn.series.forecast.fit.average", average)
    fit_series(both, params(**TINY), backtest=False)
    monkeypatch.setattr("xrnn.series.forecast.fit._MOST_VALUES", 6 * 100)
    fit_series(both, params(**TINY), backtest=False)
    sizes = [[len(each.z) for each in samples] for samples in seen]
    assert sizes[0] == [196, 96]
    assert sizes[-1] == [68, 33]
    phases = np.rint(seen[-1][0].origin * 200).astype(int) % 4
    assert set(phases.tolist()) == {0, 1, 2, 3}


def test_a_line_with_a_season_is_continued() -> None:
    t = np.arange(84.0)
    values = t + 5 * (t % 4)
    np.testing.assert_allclose(forecast_of(values[:80])[:, 1], values[80:], rtol=5e-3)


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
    for name in ("known_scale_", "offsets_", "linear_", "effect_", "recurrent_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


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
