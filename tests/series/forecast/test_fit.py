"""The fit of a forecaster to series, its forecasts and intervals, and their scores."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.errors import one_line, refused
from tests.series.forecast.tiny import changed, forecaster_of, params
from xrnn.series.checks import Series
from xrnn.series.errors import DataError, SettingsError
from xrnn.series.forecast import linear
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.forecasts import naive_forecasts, next_steps
from xrnn.series.forecast.intervals import Intervals
from xrnn.series.forecast.scores import ForecastScores, drift, seasonal_naive, with_quantiles
from xrnn.series.forecast.series import mase_divisor
from xrnn.series.forecast.smoothing import smoothed
from xrnn.series.forecast.windows import fill
from xrnn.series.parameters import parse_quantiles
from xrnn.typing import HostArray

TINY = params(horizon=3, context=6, season=4)
pytestmark = pytest.mark.usefixtures("workdir")


def series(values: HostArray, **more: Any) -> Series:
    return Series(values[:, None] if values.ndim == 1 else values, None, "s", **more)


def test_a_forecast_is_the_average_of_exponential_smoothing_and_the_linear_part() -> None:
    fit = fit_series([series(growth() - 10)], TINY).backtest  # negative values have no logarithms
    assert fit is not None
    (one,), model = fit.series, fit.model
    forecast = Intervals.of(fit, TINY.levels).around(one, one.test_origins)
    for n, origin in enumerate(one.test_origins):
        context = growth()[origin - 6 : origin] - 10
        level, scale = context[-4:].mean(), context.std()
        linear_part = level + scale * ((context - level) / scale @ model.linear[:-1] + model.linear[-1])
        (smooth,), share = smoothed(growth() - 10, None, np.array([origin]), 3, 4), model.smoothing
        assert 0 < share < 1
        np.testing.assert_allclose(forecast[n, :, 1], share * smooth + (1 - share) * linear_part)


def test_the_model_of_the_backtest_sees_no_row_of_it_and_the_final_one_sees_all() -> None:
    values = growth()
    fit = fit_series([series(values)], TINY)
    one = fit.backtest
    assert one is not None
    assert (one.series[0].cut, fit.series[0].cut) == (48, 60)
    values[48:] = 1e6
    other = fit_series([series(values)], TINY).backtest
    assert other is not None
    counts = [len(each.series[0].training_origins) for each in (one, other, fit)]
    assert counts == [48 - 4 - 3 + 1, 48 - 4 - 3 + 1, 60 - 4 - 3 + 1]
    np.testing.assert_array_equal(one.model.linear, other.model.linear)
    assert one.model.smoothing == other.model.smoothing


def test_each_fold_holds_out_the_rows_after_those_it_is_trained_on() -> None:
    folds = fit_series([series(growth()), series(growth(40))], TINY).folds()
    assert [[each.cut for each in fold.series] for fold in folds] == [[24, 16], [36, 24], [48, 32]]
    assert [[each.rows for each in fold.series] for fold in folds] == [[36, 24], [48, 32], [60, 40]]
    for fold in folds:
        for each in fold.series:
            assert each.training_origins[-1] + TINY.horizon == each.cut == each.test_origins[0]
    (fold,) = fit_series([series(growth(20))], TINY).folds()  # of fewer, too few windows
    assert fold.series[0].cut == 16


def test_calibration_gives_quantiles_their_shares_of_unseen_values() -> None:
    walk = series(np.random.default_rng(0).normal(size=150).cumsum())
    fit = fit_series([walk], changed(TINY, season=1, context=20)).backtest
    assert fit is not None
    (one,) = fit.series
    target, quantiles = one.actual(one.test_origins), Intervals.of(fit, TINY.levels).around(one, one.test_origins)
    assert (np.diff(quantiles) >= 0).all()
    assert 0.72 < ((quantiles[..., 0] <= target) & (target <= quantiles[..., 2])).mean() < 0.95


def test_offsets_move_quantiles_but_not_the_median() -> None:
    (one,), at = fit_series([series(growth() - 10)], TINY).series, np.array([9, 30, 41])
    offsets = np.array([-1.0, 0.0, 0.5]) * np.arange(1, 4)[:, None]
    forecast = Intervals(TINY.levels, offsets, 0.0).around(one, at)
    np.testing.assert_allclose(forecast, one.plain(at)[..., None] + one.unit * offsets)
    crossed = np.tile([1.0, 0.0, 0.5], (3, 1))  # a quantile stays on its side of the median
    np.testing.assert_allclose(Intervals(TINY.levels, crossed, 0.0).around(one, at)[..., 0], one.plain(at))


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


def test_a_series_shorter_than_two_natural_seasons_has_none() -> None:
    start = datetime(2024, 1, 1)
    for rows, season in ((95, 1), (96, 48)):
        times = tuple(start + timedelta(minutes=30 * i) for i in range(rows))
        fit = fit_series([series(growth(rows), times=times)], changed(TINY, season=0, context=0))
        assert fit.facts.season == season


def test_missing_values_are_filled_from_the_past() -> None:
    nan = np.nan
    np.testing.assert_array_equal(fill(np.array([nan, 1, 2, nan, 4, nan]), 2), [1, 1, 2, 1, 4, 1])
    values = growth()
    values[20:22] = nan
    (one,) = fit_series([series(values)], TINY).series
    assert not {18, 19, 20, 21} & {*one.training_origins.tolist()}


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
        (DataError, lambda: fit_series([one, other], TINY), "s has a gap in its times between 8 and 10"),
        (DataError, lambda: fit_series([constant, series(np.zeros(40))], TINY, backtest=False), flawed),
        (
            DataError,
            lambda: fit_series([series(np.ones(1))], params(horizon=1)),
            "expected at least 2 rows with values",
        ),
        (
            DataError,
            lambda: fit_series([tiny], TINY),
            "s has a standard deviation below 1e-150: expected a larger one; mu",
        ),
        (DataError, lambda: fit_series([empty], changed(TINY, target="v", known="k")), "s has no value to forecast"),
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
    fit, other = (fit_series(each, TINY, backtest=backtest) for each in (every, trained))
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
        [next_steps(one, Intervals.of(each, TINY.levels)) for one in each.series] for each in (fit, other)
    )
    by_name = {each.name: each for each in forecasts}
    for one in of_trained:
        np.testing.assert_array_equal(by_name[one.name].values, one.values)
    lasts: dict[str, Any] = {"one": 7, "three": 4, "constant": 5, "sparse": [1, 3, 5], "zeros": 0}
    for name, last in lasts.items():
        np.testing.assert_allclose(by_name[name].median, last)
        assert (np.ptp(by_name[name].values, axis=1) > 0).all() == (name == "three")
    assert naive_forecasts(forecasts) == f"naive forecasts for 5 of 9 {names}: {why}"
    saved = forecaster_of(TINY, fit)
    for each, expected in zip(every, forecasts, strict=True):
        np.testing.assert_array_equal(saved.forecast(each).values, expected.values)


def test_series_that_cannot_be_trained_on_do_not_shorten_the_context() -> None:
    settings = changed(TINY, context=0)
    short = [series(growth(n)) for n in (1, 4, 6)]
    alone, among = (fit_series(each, settings) for each in ([series(growth())], [*short, series(growth())]))
    assert alone.facts.context == among.facts.context


def test_a_series_whose_neighbours_are_unknown_has_no_scale() -> None:
    """Its MASE would have the unit of its values: it is refused alone, and not scored among others."""
    sparse, settings = np.arange(80.0), changed(TINY, horizon=1, season=1)
    sparse[1::2] = np.nan
    with one_line(DataError, "s has too few rows, missing or equal values"):
        fit_series([series(sparse)], settings)
    fit = fit_series([series(growth()), series(sparse)], settings)
    assert fit.backtest is not None
    assert (fit.backtest.scored, fit.backtest.unscored.count("1 of 2 series")) == ([0], 1)
    trained = forecaster_of(settings, fit)
    assert trained.forecast(series(sparse[:41])).flaw
    assert not trained.forecast(series(np.append(sparse[:41], 41.0))).flaw


def test_a_short_series_has_the_step_of_the_model() -> None:
    """A series of one row has no step of its own."""
    months = tuple(datetime(2020 + i // 12, i % 12 + 1, 1) for i in range(60))
    every = [series(growth(), times=months), series(np.array([3.0]), times=months[-1:])]
    fit = fit_series(every, TINY)
    intervals = Intervals.of(fit, TINY.levels)
    for each in fit.series:
        assert next_steps(each, intervals).times == [datetime(2025, m, 1) for m in (1, 2, 3)]


def test_the_known_columns_of_a_short_series_may_be_empty() -> None:
    rng = np.random.default_rng(0)
    columns = np.stack([np.append(growth(), [np.nan] * 3), rng.random(63)], axis=1)
    short = np.array([[1.0, np.nan], [2.0, np.nan]])
    settings = changed(TINY, target="v", known="k")
    fit = fit_series([series(columns), series(short)], settings)
    np.testing.assert_array_equal(next_steps(fit.series[1], Intervals.of(fit, TINY.levels)).median, 2)


def test_the_samples_of_many_series_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [series(growth(200)), series(2 * growth(100))]
    seen: list[Any] = []

    def average(samples: Any, season: int) -> Any:
        seen.append(samples)
        return linear.average(samples, season)

    monkeypatch.setattr("xrnn.series.forecast.fit.average", average)
    fit_series(both, changed(TINY), backtest=False)
    monkeypatch.setattr("xrnn.series.forecast.fit._MOST_VALUES", 6 * 100)
    fit_series(both, changed(TINY), backtest=False)
    sizes = [[len(each.z) for each in samples] for samples in seen]
    assert sizes[0] == [196, 96]
    assert sizes[-1] == [68, 33]
    phases = np.rint(seen[-1][0].origin * 200).astype(int) % 4
    assert set(phases.tolist()) == {0, 1, 2, 3}


def test_the_memory_of_a_repeated_step_does_not_grow_as_the_square_of_the_context() -> None:
    C = 20_000
    w = np.zeros(C)
    w[C - 7] = 1
    tracemalloc.start()
    linear.repeated(w, 0.0, 8)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * 8 * 8 * C
