"""The fit of a model to series: its sizes, choices and intervals, and the rows that it sees; the backtest."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import growth
from tests.errors import one_line, refused
from tests.series.forecast.tiny import TINY, fit_of, forecast_of, forecaster_of, series, settings_of, smoothed
from xrnn.series import Forecaster
from xrnn.series.errors import DataError, SettingsError
from xrnn.series.estimator import parse_quantiles
from xrnn.series.forecast import linear
from xrnn.series.forecast.estimator import listed, naive_forecasts
from xrnn.series.forecast.fit import backtest, drift, fit_series, mean_scores, quantile_offsets, seasonal_naive
from xrnn.series.forecast.series import OneSeries, Settings
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

LEVELS = (0.1, 0.5, 0.9)


def test_a_forecast_is_the_average_of_exponential_smoothing_and_the_linear_part() -> None:
    fitted = fit_of(growth() - 10, held_out=True, **TINY)  # negative values have no logarithms
    model = fitted.model
    C = fitted.model.context
    one = OneSeries(fitted.given, replace(model, recurrent=0 * model.recurrent), fitted.cut)
    origins, _ = one.held_out()
    forecast = one.quantiles(origins)
    for n, origin in enumerate(origins):
        context = growth()[origin - C : origin] - 10
        level = context[-4:].mean()
        scale = context.std()
        linear_part = level + scale * ((context - level) / scale @ model.linear[:-1] + model.linear[-1])
        (smooth,) = smoothed(growth() - 10, None, np.array([origin]), 3, 4)
        share = model.smoothing
        assert 0 < share < 1
        np.testing.assert_allclose(forecast[n, :, 1], share * smooth + (1 - share) * linear_part)


def test_the_last_fifth_is_held_out() -> None:
    for rows, cut in ((60, 48), (40, 32), (9, 6)):
        one = fit_of(growth(rows), held_out=True, **TINY)
        assert (one.cut, one.held_out()[0].tolist()) == (cut, [*range(cut, rows - 2)])
        assert fit_of(growth(rows), **TINY).cut == rows


def test_a_series_shorter_than_two_natural_seasons_has_none() -> None:
    start = datetime(2024, 1, 1)
    for rows, season in ((95, 1), (96, 48)):
        times = tuple(start + timedelta(minutes=30 * i) for i in range(rows))
        (one,) = fit_series([series(growth(rows), times=times)], settings_of(horizon=3))
        assert one.model.season == season


def test_quantiles() -> None:
    assert parse_quantiles("0.9, 0.05") == (0.05, 0.5, 0.9)
    assert parse_quantiles("0.5") == (0.5,)
    assert parse_quantiles("1e-7,0.30000000000000004") == (1e-7, 0.30000000000000004, 0.5)
    alike = "0.1,0.1000000001", "0.5000001", "0.9999999"
    for quantiles in ("0,0.9", "1", "0.1;0.9", "", "x", "nan", "-0.1", "0.1,0.1", *alike):
        with one_line(SettingsError, "quantiles is ", ": expected numbers between 0 and 1 that differ in"):
            settings_of(quantiles=quantiles)


def test_bad_series_get_one_line() -> None:
    one, other = (series(growth(), times=tuple(np.delete(np.arange(61.0), i))) for i in (60, 9))
    constant = series(np.ones(40))
    tiny = series(1e-300 * (np.arange(40) % 7 - 3))
    flawed = "s has too few rows, missing or equal values; add rows with values that change"
    refused(
        (DataError, lambda: fit_series([one, other], settings_of(**TINY)), "s has a gap in its times between 8 and 10"),
        (DataError, lambda: fit_series([constant, series(np.zeros(40))], settings_of(**TINY)), flawed),
        (
            DataError,
            lambda: fit_series([series(np.ones(1))], settings_of(horizon=1)),
            "add rows with values",
        ),
        (
            DataError,
            lambda: fit_series([tiny], settings_of(**TINY)),
            flawed,
        ),
    )


def short_and_long() -> list[Series]:
    """Series with too few rows, equal values, values that are missing, and those to train on."""
    gaps = growth()
    sparse = np.full(50, np.nan)
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


@pytest.mark.parametrize("held_out", [True, False])
def test_series_that_cannot_be_trained_on_change_nothing_and_are_forecast(held_out: bool) -> None:
    every = short_and_long()
    settings = settings_of(**TINY)
    trained = [each for each in every if each.name in ("a", "late", "gaps", "b")]
    fitted, other = (fit_series(each, settings, held_out=held_out) for each in (every, trained))
    np.testing.assert_array_equal(fitted[0].model.linear, other[0].model.linear)
    if held_out:
        assert [each.place for each in backtest(every, settings)] == [0, 6, 8]
        return
    by_name = {each.name: each for each in fitted}
    for one in other:
        np.testing.assert_array_equal(by_name[one.name].forecast, one.forecast)
    lasts: dict[str, Any] = {"one": 7, "constant": 5, "sparse": [1, 3, 5], "zeros": 0}
    for name, last in lasts.items():
        np.testing.assert_allclose(by_name[name].median, last)
        assert not np.ptp(by_name[name].forecast, axis=1).any()
    assert (by_name["three"].median > 3).all()
    names, why = "4 of 9 series (one, constant, sparse, zeros)", "too few rows, missing or equal values"
    assert naive_forecasts(fitted) == f"naive forecasts for {names}: {why}"
    assert listed("not scored:", ["n" * 90], 9) == f"not scored: 1 of 9 series ({'n' * 80}…): {why}"
    saved = Forecaster(**TINY)
    saved.learn(every)
    for each, expected in zip(every, fitted, strict=True):
        np.testing.assert_array_equal(saved.forecast(each).forecast, expected.forecast)


def test_series_that_cannot_be_trained_on_do_not_shorten_the_context() -> None:
    short = [series(growth(n)) for n in (1, 4, 6)]
    among = fit_series([*short, series(growth())], settings_of(**TINY))
    assert among[0].model.context == fit_of(growth(), **TINY).model.context


def test_a_horizon_may_be_longer_than_the_series() -> None:
    quantiles = forecast_of(growth(9), horizon=30)
    assert np.isfinite(quantiles).all()
    assert (quantiles[:, 0] < quantiles[:, 2]).all()


def test_a_short_series_has_the_step_of_the_model() -> None:
    """A series of one row has no step of its own."""
    months = tuple(datetime(2020 + i // 12, i % 12 + 1, 1) for i in range(60))
    every = [series(growth(), times=months), series(np.array([3.0]), times=months[-1:])]
    for each in fit_series(every, settings_of(**TINY)):
        assert [*each.times_ahead] == [datetime(2025, m, 1) for m in (1, 2, 3)]


def test_the_samples_of_many_series_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [series(growth(200)), series(2 * growth(100))]
    seen: list[tuple[HostArray, ...]] = []

    def linear_part(*windows: Any) -> Any:
        seen.append(windows)
        return linear.linear_part(*windows)

    monkeypatch.setattr("xrnn.series.forecast.fit.linear_part", linear_part)
    one, _ = fit_series(both, settings_of(**TINY))
    monkeypatch.setattr("xrnn.series.forecast.fit._MOST_VALUES", one.model.context * 100)
    fit_series(both, settings_of(**TINY))
    sizes = [[int((rows == n).sum()) for n in (200, 100)] for _, _, _, rows, *_ in seen]
    assert sizes[0] == [196, 96]
    assert sizes[-1] == [68, 33]
    _, _, at, rows, *_ = seen[-1]
    assert set((at[rows == 200] % 4).tolist()) == {0, 1, 2, 3}


def test_a_line_with_a_season_is_continued() -> None:
    t = np.arange(84.0)
    values = t + 5 * (t % 4)
    np.testing.assert_allclose(forecast_of(values[:80])[:, 1], values[80:], rtol=5e-3)


def test_multiplicative_growth_gets_logarithms_and_additive_growth_does_not() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(120.0)
    season = np.sin(np.pi * t / 2)
    growing = np.exp(0.03 * t + 0.3 * season + 0.02 * rng.standard_normal(120))
    assert fit_of(growing[:116]).model.log
    assert fit_of(growing[:116], held_out=True).model.log
    quantiles = forecast_of(growing[:116])
    np.testing.assert_allclose(quantiles[:, 1], growing[116:], rtol=0.1)
    assert (quantiles > 0).all()
    assert not fit_of(20 + 3 * t + 10 * season + rng.standard_normal(120)).model.log
    assert not fit_of(growing - 5).model.log  # some values are negative


def test_a_known_column_is_used() -> None:
    """y = 3 promo + sin(t / 3) + 0.1 noise, 300 rows: the mean absolute error is at most 0.3."""
    rng = np.random.default_rng(0)
    t = np.arange(306)
    promo = rng.random(306) < 0.2
    y = 3 * promo + np.sin(t / 3) + 0.1 * rng.standard_normal(306)
    values = np.stack([np.where(t < 300, y, np.nan), promo], axis=1)
    quantiles = forecast_of(values, target="y", known="promo", horizon=6, season=0)
    assert np.abs(quantiles[:, 1] - y[300:]).mean() <= 0.3


def test_hours_have_a_season_of_a_day_and_one_of_a_week() -> None:
    """The noise of one deviation is what remains, if the weekends are known."""
    rng = np.random.default_rng(0)
    times = [datetime(2024, 1, 3) + timedelta(hours=i) for i in range(33 * 24)]  # a Wednesday
    is_weekend = np.array([time.weekday() > 4 for time in times])
    wave = np.sin(2 * np.pi * np.arange(len(times)) / 24)
    values = 50 + 10 * wave * ~is_weekend - 20 * is_weekend + rng.standard_normal(len(times))
    rows = 31 * 24 - 12  # Friday noon
    given = series(values[:rows], times=tuple(times[:rows]))
    trained = Forecaster(horizon=24)
    trained.learn([given])
    assert (trained.model_.season, trained.model_.calendar) == (24, "week")
    assert np.abs(trained.forecast(given).median - values[rows : rows + 24]).mean() < 2
    with one_line(DataError, "s has no dates, and the model uses the week; add a column or"):
        trained.forecast(series(values[:rows]))


def test_days_have_a_season_of_a_year_if_it_helps() -> None:
    times = tuple(datetime(2020, 1, 1) + timedelta(days=i) for i in range(1200))
    noise = np.random.default_rng(0).standard_normal(1200)
    year = 10 * np.sin(2 * np.pi * np.arange(1200) / 365.25) + noise
    for values, expected in ((noise.cumsum(), ""), (year, "year")):
        (one,) = fit_series([series(values, times=times)], settings_of(horizon=4))
        assert one.model.calendar == expected


def test_a_known_holiday_has_the_hours_of_a_sunday() -> None:
    """Five holidays on working days are in the training: the error is less than half that of the day before."""
    rng = np.random.default_rng(0)
    rows = 154 * 24
    day, hour = np.divmod(np.arange(rows), 24)
    holiday = np.isin(day, [17, 44, 66, 94, 129, 150])
    working = 20 + 30 * np.exp(-(((hour - 9) / 3) ** 2)) + 25 * np.exp(-(((hour - 17) / 3) ** 2))
    sunday = 20 + 15 * np.exp(-(((hour - 14) / 4) ** 2))
    values = np.where((day % 7 > 4) | holiday, sunday, working) * np.exp(0.05 * rng.standard_normal(rows))
    cut = 150 * 24
    columns = np.stack([np.where(np.arange(rows) < cut, values, np.nan), holiday], axis=1)[: cut + 24]
    times = tuple(datetime(2024, 1, 1) + timedelta(hours=i) for i in range(cut + 24))
    settings = settings_of(horizon=24, target="v", known="holiday")
    (one,) = fit_series([series(columns, times=times)], settings)
    (forecast,) = one.quantiles(np.array([cut]))
    error = np.abs(forecast[:, 1] - values[cut : cut + 24]).mean()
    assert error < 0.5 * np.abs(values[cut - 24 : cut] - values[cut : cut + 24]).mean()


def test_held_out_rows_change_no_choice() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(100.0)
    values = np.exp(0.02 * t + 0.2 * np.sin(np.pi * t / 2) + 0.05 * rng.standard_normal(100))
    columns = np.stack([np.append(values, [np.nan] * 4), rng.standard_normal(104)], axis=1)
    changed = columns.copy()
    changed[80:100] = rng.standard_normal((20, 2)) * 50  # negative values too, which have no logarithm
    one, other = (fit_of(each, held_out=True, target="v", known="k").model for each in (columns, changed))
    assert one.log
    np.testing.assert_equal(asdict(other), asdict(one))


def test_short_series_are_padded() -> None:
    """The context follows from the median; shorter series are trained on and forecast too."""
    rng = np.random.default_rng(0)
    series = [Series((np.arange(n) / 2 + 0.1 * rng.standard_normal(n))[:, None], None, str(n)) for n in (15, 18, 60)]
    trained = Forecaster(horizon=4)
    trained.learn(series)
    assert trained.model_.context == 14  # the rows of 18 before the backtest
    for source in series:
        forecast = trained.forecast(source).median
        steps = np.arange(1, 5) / 2
        np.testing.assert_allclose(forecast - source.values[-1, 0], steps, atol=0.4)


# ---- intervals ----


def test_offsets_move_quantiles_but_not_the_median() -> None:
    # negative values have no logarithms
    fitted = fit_of(growth() - 10, **TINY)
    at = np.array([9, 30, 41])
    offsets = np.array([-1.0, 0.0, 0.5]) * np.arange(1, 4)[:, None]
    one = OneSeries(fitted.given, replace(fitted.model, offsets=np.stack([offsets, 9 * offsets])))
    np.testing.assert_allclose(one.quantiles(at), one.plain(at)[..., None] + one.unit * offsets)


def test_the_errors_are_those_of_forecasts_that_have_not_seen_the_values() -> None:
    """The last fifth is noise of ten deviations. Errors in rows that were learnt from would be smaller."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(300) * np.repeat([1, 10], [240, 60])
    quantiles = forecast_of(values, season=1)
    assert 0.5 * 2 * 1.28 * 4.5 < np.ptp(quantiles, axis=1).mean() < 2 * 2 * 1.28 * 10


def test_untested_steps_widen_as_a_random_walk() -> None:
    errors = np.abs(np.arange(1.0, 13)) * np.where(np.arange(40)[:, None] % 2, 1, -1)
    errors[:, 4:] = np.nan
    widths = quantile_offsets(errors, LEVELS)[:, 2]
    np.testing.assert_allclose(widths[:4] / widths[0], [1, 2, 3, 4])
    np.testing.assert_allclose(widths[4:] / widths[3], np.sqrt(np.arange(5, 13) / 4))


def test_intervals_of_short_series_narrow_with_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrnn.series.forecast.fit._widening", lambda series, model: model.widening)  # saves time
    widths = []
    for rows in (20, 24, 26, 28, 36):
        of_seeds = []
        for seed in range(97_000, 97_004):
            noise = np.random.default_rng(seed).standard_normal(rows)
            values = 100 + 10 * noise + 20 * np.sin(2 * np.pi * np.arange(rows) / 12)
            of_seeds.append(np.ptp(forecast_of(values, horizon=12, season=12)[-1]))
        widths.append(float(np.median(of_seeds)))
    assert (np.diff(widths) < 0.1 * np.array(widths[:-1])).all(), widths


def test_series_that_are_mostly_0_do_not_narrow_the_intervals_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrnn.series.forecast.fit._widening", lambda series, model: model.widening)  # saves time
    rng = np.random.default_rng(96_000)
    t = np.arange(132)
    shops = 200 + 0.5 * t + 30 * np.sin(2 * np.pi * t / 12) + 8 * rng.standard_normal((6, 132))
    slow = rng.poisson(0.1, (25, 132)) + 0.0
    alone, beside = (
        Forecaster(horizon=12, season=12).fit([*given[:, :120]]).predict_quantiles()
        for given in (shops, np.concatenate([shops, slow]))
    )
    widths = [float((each[:6, :, 2] - each[:6, :, 0]).mean()) for each in (alone, beside)]
    assert widths[1] > 0.9 * widths[0]
    inside = (beside[6:, :, 0] <= slow[:, 120:]) & (slow[:, 120:] <= beside[6:, :, 2])
    assert inside.mean() > 0.7


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
    """Without left-out windows, the errors of exponential smoothing decide their widths."""
    t = np.arange(40)
    values = 100 + 10 * np.sin(np.pi * t / 6) + np.random.default_rng(0).standard_normal(40)
    one = fit_of(values, horizon=12, season=12)
    assert one.model.context == 24  # two seasons, so that there is a mean of seasons
    quantiles = one.forecast
    later = 100 + 10 * np.sin(np.pi * np.arange(40, 52) / 6)
    assert ((quantiles[:, 0] < later) & (later < quantiles[:, 2])).mean() > 0.7
    assert (quantiles[:, 2] - quantiles[:, 0]).max() < 16


def test_earlier_rows_that_do_not_change_are_left_to_exponential_smoothing() -> None:
    """A series that is 0 up to its last fifth, except its first value."""
    noise = np.random.default_rng(0).standard_normal(40)
    assert (fit_of(np.append(np.append(5.0, np.zeros(160)), 5 + noise), horizon=3).model.offsets[..., 2] > 0).all()


@pytest.mark.parametrize(
    ("count", "seeds"), [(60, 3), *(pytest.param(count, 20, marks=pytest.mark.proof) for count in (5, 20, 50, 90))]
)
def test_many_known_columns_without_an_effect_hardly_change_a_forecast(
    count: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their effect is found on the rows from which the intervals come, too. The seeds chose no constant."""
    monkeypatch.setattr("xrnn.series.forecast.fit._widening", lambda series, model: model.widening)
    widths, errors = np.zeros((2, 2))
    inside = []
    for seed in range(90_000, 90_000 + seeds):
        rng = np.random.default_rng(seed)
        y = 200 + 30 * np.sin(2 * np.pi * np.arange(132) / 12) + 5 * rng.standard_normal(132)
        known = rng.standard_normal((132, count))
        plain = Forecaster(horizon=12, season=12).fit(y[None, :120])
        forecaster = Forecaster(horizon=12, season=12).fit(y[None, :120], known=known[None, :120])
        of_both = plain.predict_quantiles()[0], forecaster.predict_quantiles(known=known[None, 120:])[0]
        widths += [(q[:, 2] - q[:, 0]).mean() for q in of_both]
        errors += [np.abs(q[:, 1] - y[120:]).mean() for q in of_both]
        low, _, high = of_both[1].T
        inside += [(low <= y[120:]) & (y[120:] <= high)]
    assert 0.85 < widths[1] / widths[0] < 1.2
    assert errors[1] < 1.1 * errors[0]
    assert seeds < 20 or 0.72 < np.mean(inside) < 0.88


def test_intervals_are_wider_where_a_known_column_has_a_large_effect() -> None:
    """The noise of days of promotion is five times that of others: 80 % intervals hold 72 to 88 % of both."""
    inside: dict[bool, list[bool]] = {False: [], True: []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        t = np.arange(960)
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
            q = forecaster.forecast(series(values[: rows + 14]), rows).forecast
            for quantiles, value, on in zip(q, y[rows:], promo[rows:] > 0, strict=False):
                inside[bool(on)].append(bool(quantiles[0] <= value <= quantiles[2]))
    assert 0.72 <= np.mean(inside[True]) <= 0.88
    assert 0.72 <= np.mean(inside[False]) <= 0.88


# ---- the backtest ----


def test_errors_are_those_of_forecasts_from_each_held_out_row_by_a_model_of_the_rows_before() -> None:
    values = growth(40) + np.random.default_rng(0).normal(0, 2, 40)
    (test,) = backtest([series(values)], settings_of(**TINY))
    assert test.origins.tolist() == [32, 33, 34, 35, 36, 37]
    expected = fit_of(values, held_out=True, **TINY).quantiles(test.origins)
    np.testing.assert_allclose(test.forecasts, expected, rtol=1e-12)
    changed = np.append(values[:32], 1e3 * values[32:])
    np.testing.assert_array_equal(backtest([series(changed)], settings_of(**TINY))[0].forecasts[0], test.forecasts[0])
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
    above = actual[..., None] - test.forecasts
    q = np.array([0.1, 0.5, 0.9])
    loss = np.where(above > 0, q * above, (q - 1) * above)
    assert test.scores["model"]["pinball"] == pytest.approx(loss.mean() / unit)
    repeated = values[test.origins[:, None] - 4 + np.arange(3)]
    np.testing.assert_allclose(test.scores["seasonal_naive"]["steps"], np.abs(repeated - actual).mean(axis=0) / unit)
    last = values[test.origins - 1, None]
    np.testing.assert_allclose(test.scores["naive"]["steps"], np.abs(last - actual).mean(axis=0) / unit)


def test_means_give_each_series_the_same_weight() -> None:
    rng = np.random.default_rng(0)
    tests = backtest([series(growth()), series(np.ones(9)), series(rng.random(30))], settings_of(**TINY))
    assert [test.place for test in tests] == [0, 2]
    for method, scores in mean_scores(tests).items():
        for name, mean in scores.items():
            np.testing.assert_allclose(mean, np.mean([test.scores[method][name] for test in tests], axis=0))


def test_there_is_none_if_the_rows_before_it_do_not_change_or_are_too_few() -> None:
    assert backtest([series(np.append(np.ones(40), growth(10)))], settings_of(**TINY)) == []
    assert backtest([series(growth(6))], settings_of(**TINY)) == []


def test_hours_are_also_compared_with_the_week_before() -> None:
    week = np.random.default_rng(0).normal(50, 9, 168)
    for weeks, expected in ((4, True), (1, False)):
        times = tuple(datetime(2024, 1, 1) + timedelta(hours=i) for i in range(168 * weeks))
        (test,) = backtest([series(np.tile(week, weeks), times=times)], settings_of(horizon=3))
        assert ("weekly_naive" in test.scores) == expected
    (test,) = backtest([series(np.tile(week, 4))], settings_of(horizon=3, season=24))  # without times
    assert "weekly_naive" not in test.scores


def test_the_naive_forecast_repeats_the_last_season() -> None:
    np.testing.assert_array_equal(seasonal_naive(np.arange(10.0), np.array([8, 4]), 3, 2), [[6, 7, 6], [2, 3, 2]])


def test_the_drift_continues_the_line_from_the_first_to_the_last_value() -> None:
    values = np.array([1.0, 9, 9, 7, 0])
    np.testing.assert_allclose(drift(values, np.array([4, 1]), 2), [[9, 11], [1, 1]])


@pytest.mark.parametrize("season", [24, 48])
def test_the_context_of_hours_has_a_week_if_this_helps(season: int) -> None:
    """Without times, weekends are known from the week before: the error is less than half that of the day before."""
    rng = np.random.default_rng(season)
    row = np.arange(70 * season)
    hour, day = row % season / season, row // season % 7
    values = 100 + 40 * np.sin(2 * np.pi * hour) * np.where(day > 4, 0.3, 1) + 2 * rng.standard_normal(len(row))
    cut = 67 * season  # the next days are a Friday and a Saturday
    (one,) = fit_series([Series(values[:cut, None], None, "s")], Settings(horizon=2 * season, season=season))
    assert one.model.context == 8 * season
    assert one.model.season == season
    actual = values[cut : cut + 2 * season]
    day_before = np.resize(values[cut - season : cut], 2 * season)
    assert np.abs(one.median - actual).mean() < np.abs(day_before - actual).mean() / 2


def test_a_day_like_all_others_needs_no_week() -> None:
    rng = np.random.default_rng(0)
    values = 100 + 40 * np.sin(np.pi * np.arange(24 * 40) / 12) + 2 * rng.standard_normal(24 * 40)
    (one,) = fit_series([Series(values[:, None], None, "s")], Settings(horizon=24, season=24))
    assert one.model.context == 72
