"""Single bad values are left out of the fit and are named; changes that come again or stay are followed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.series.forecast.tiny import forecast_of, series, settings_of
from xrnn.commands.main import main
from xrnn.series import Forecaster
from xrnn.series.forecast.fit import backtest
from xrnn.series.forecast.outliers import constant_rows, find_outliers, rows_of_new_level, unit_change
from xrnn.series.forecast.series import PreparedSeries, Setup, mase_divisor
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

F = 8


def simulated(kind: str, seed: int) -> HostArray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal
    if kind == "days":
        return 5000 * np.resize([1, 1.1, 0.9, 1, 1.3, 1.6, 0.7], 140 + F) * np.exp(0.1 * noise(140 + F))
    if kind == "trend":
        return 10 + 0.5 * np.arange(60 + F) + noise(60 + F)
    return rng.poisson(6, 90 + F) + 1.0


@pytest.fixture
def medians_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit takes half the time without the widths of intervals of short series."""
    monkeypatch.setattr("xrnn.series.forecast.fit._widening", lambda series, model: model.widening)


def errors_with_bad_values(given: list[HostArray], season: int) -> dict[tuple[int, int], HostArray]:
    """The mean errors of forecasts of the last rows, by the place and the factor of a bad value in the first series.

    The place is the last row, one near the end, or one in the middle; the factor 10 or 100; (0, 1) without a bad value.
    """
    past = [values[:-F] for values in given]
    T = len(given[0]) - F
    errors = {}
    for place, factor in [(0, 1), *((place, factor) for place in (T - 1, T - 4, T // 2) for factor in (10, 100))]:
        bad = [past[0].copy(), *past[1:]]
        bad[0][place] *= factor
        forecasts = Forecaster(horizon=F, season=season).fit(bad).predict()
        errors[place, factor] = np.array([np.abs(f - v[-F:]).mean() for f, v in zip(forecasts, given, strict=True)])
    return errors


@pytest.mark.filterwarnings("ignore:.*left out of the fit")
@pytest.mark.usefixtures("medians_only")
@pytest.mark.parametrize(
    ("kind", "season", "count", "seeds"),
    [
        ("days", 7, 1, 2),
        ("trend", 1, 1, 2),
        ("trend", 1, 2, 2),
        ("counts", 1, 1, 2),
        ("counts", 1, 2, 2),
        *(
            pytest.param(*case, marks=pytest.mark.proof)
            for case in [
                ("days", 7, 2, 2),
                ("days", 7, 5, 2),
                ("trend", 1, 5, 2),
                ("counts", 1, 5, 2),
                ("trend", 1, 20, 1),
            ]
        ),
    ],
)
def test_one_bad_value_hardly_changes_any_forecast(kind: str, season: int, count: int, seeds: int) -> None:
    """The seeds chose no constant."""
    total: dict[tuple[int, int], HostArray] = {}
    for seed in range(70_000, 70_000 + seeds):
        of_seed = errors_with_bad_values([simulated(kind, 10 * seed + i) for i in range(count)], season)
        for case, error in of_seed.items():
            total[case] = total.get(case, np.zeros(count)) + error
    before = total[0, 1]
    for case, error in total.items():
        assert error[0] < 2 * before[0], case
        assert error[1:].sum() <= 1.05 * before[1:].sum(), case


@pytest.mark.usefixtures("medians_only")
@pytest.mark.needs("statsmodels", "dev")
@pytest.mark.filterwarnings("ignore:.*left out of the fit")
@pytest.mark.parametrize(("name", "column", "season"), [("macrodata", "realcons", 4), ("sunspots", "SUNACTIVITY", 11)])
def test_one_bad_value_hardly_changes_a_forecast_of_real_data(name: str, column: str, season: int) -> None:
    datasets = importlib.import_module("statsmodels.datasets")
    values = getattr(datasets, name).load_pandas().data[column].to_numpy(float)[-160:]
    of_ends = [[*errors_with_bad_values([values[:end]], season).values()] for end in (160, 150, 140)]
    before, *after = np.sum(of_ends, axis=0)[:, 0]
    assert max(after) < 2 * before


@pytest.mark.filterwarnings("ignore:.*(left out of the fit|a new level|are about 100 times)")
@pytest.mark.usefixtures("medians_only")
@pytest.mark.parametrize("rows", [2, 4])
def test_a_new_level_of_one_series_hardly_changes_the_forecast_of_another(rows: int) -> None:
    """Its windows are far from those of the other series. They have a limited weight in the linear part of both."""
    before, after = np.zeros(2)
    for seed in range(79_000, 79_004):
        rng = np.random.default_rng(seed)
        season = 100 + 20 * np.sin(2 * np.pi * np.arange(68) / 12)
        first, second = season + 3 * rng.standard_normal((2, 68))
        changed = first.copy()
        changed[60 - rows :] *= 100
        for_plain, for_changed = (
            np.abs(Forecaster(horizon=F, season=12).fit([given[:-F], second[:-F]]).predict()[1] - second[-F:]).mean()
            for given in (first, changed)
        )
        before, after = before + for_plain, after + for_changed
    assert after < 1.1 * before


def test_a_new_level_a_yearly_peak_and_intermittent_demand_are_no_outliers() -> None:
    rng = np.random.default_rng(71_000)
    level = 100 + rng.standard_normal(60)
    level[57:] += 900
    assert find_outliers(level, 1) == {}
    assert forecast_of(level, horizon=3, season=1)[0, 1] > 700
    december = np.where(np.arange(60) % 12 == 11, 800.0, 100) * np.exp(0.05 * rng.standard_normal(60))
    assert find_outliers(december, 12) == {}
    assert forecast_of(december, horizon=12, season=12)[11, 1] > 500
    demand = np.where(rng.random(200) < 0.2, rng.lognormal(2, 0.7, 200), 0.0)
    assert find_outliers(demand, 1) == {}


@pytest.mark.parametrize(
    ("rows", "factor", "value"),
    [
        ([50, 52], 10, 0),
        ([13, 37, 66, 88], 10, 0),
        ([20, 60, 95], 100, 0),
        ([83, 95], 10, 0),  # a year apart
        ([*range(3, 96, 10)], 0, -999),
        ([13, 37, 66, 88], 0, 0),
    ],
)
def test_several_typing_errors_do_not_hide_each_other(rows: list[int], factor: float, value: float) -> None:
    t = np.arange(96)
    for seed in range(84_000, 84_010):
        noise = 5 * np.random.default_rng(seed).standard_normal(96)
        values = 200 + 0.5 * t + 30 * np.sin(2 * np.pi * t / 12) + noise
        assert find_outliers(values, 12) == {}
        bad = values.copy()
        bad[rows] = bad[rows] * factor + value
        found = find_outliers(bad, 12)
        assert [*found] == rows
        np.testing.assert_allclose([*found.values()], values[rows], atol=60)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_up_to_three_zeros_in_the_last_rows_of_values_far_above_zero_are_outliers(count: int) -> None:
    for seed in range(87_000, 87_010):
        noise = np.random.default_rng(seed).standard_normal(400)
        days = 110 * np.resize([1, 1.1, 0.9, 1, 1.2, 1.3, 0.7], 400) * np.exp(0.06 * noise)
        months = 200 + 30 * np.sin(2 * np.pi * np.arange(24) / 12) + 8 * noise[:24]
        for values, season in ((days, 7), (months, 12), (100 + noise[:12], 1)):
            bad = np.append(values[:-count], np.zeros(count))
            rows = range(len(bad) - count, len(bad))
            assert [*find_outliers(bad, season)] == [*rows][: count if count < 4 else 0]
        counts = np.random.default_rng(seed).poisson(3, 60) + 0.0
        assert find_outliers(np.append(counts, np.zeros(count)), 1) == {}


@pytest.mark.parametrize("count", [6, 8, 10, 12])
def test_a_typing_error_in_a_short_history_to_predict_is_named_and_hardly_widens_intervals(count: int) -> None:
    t = np.arange(120)
    values = 200 + 0.5 * t + 30 * np.sin(2 * np.pi * t / 12) + 8 * np.random.default_rng(95_000).standard_normal(120)
    forecaster = Forecaster(horizon=4, season=12).fit([values])
    history = values[-count:]
    with pytest.warns(UserWarning, match="wider intervals"):
        lowest, _, highest = forecaster.predict_quantiles([history])[0].T
    for row in (count - 1, count - 3):
        bad = history.copy()
        bad[row] *= 10
        with pytest.warns(UserWarning, match=f"(wider intervals|far from .* row {row + 1}: )"):
            low, median, high = forecaster.predict_quantiles([bad])[0].T
        assert [*find_outliers(bad, 12)] == [row]
        assert median.max() < 2 * values.max()
        assert (high - low).max() < 3 * (highest - lowest).max()


@pytest.mark.filterwarnings("ignore:.*left out of the fit")
@pytest.mark.usefixtures("medians_only")
def test_several_typing_errors_hardly_change_the_forecast() -> None:
    values = simulated("days", 85_000)
    past, later = values[:-F], values[-F:]
    before = np.abs(Forecaster(horizon=F, season=7).fit([past]).predict()[0] - later).mean()
    for rows, factor in (([50, 52], 10), ([13, 37, 66, 88], 10), ([139], 0), ([138, 139], 0), ([137, 138, 139], 0)):
        bad = past.copy()
        bad[rows] *= factor
        assert np.abs(Forecaster(horizon=F, season=7).fit([bad]).predict()[0] - later).mean() < 1.5 * before


@pytest.mark.parametrize(("row", "factor"), [(95, 100), (95, 10), (90, 100), (60, 100), (60, 0), (95, 0)])
def test_a_typing_error_of_a_price_that_seldom_changes_is_an_outlier(row: int, factor: float) -> None:
    t = np.arange(96)
    changing = np.where(t < 40, 9.99, np.where(t < 80, 12.99, 10.99))
    for price in (np.full(96, 9.99), changing):
        assert find_outliers(price, 12) == {}
        bad = price.copy()
        bad[row] *= factor
        assert find_outliers(bad, 12) == {row: pytest.approx(price[row])}
        assert rows_of_new_level(bad, 12) == []


def test_values_like_typing_errors_that_belong_to_a_series_are_no_outliers() -> None:
    rng = np.random.default_rng(86_000)
    noise = rng.standard_normal(120)
    two_years = np.where(np.arange(24) % 12 == 11, 1000.0, 100) + noise[:24]
    assert find_outliers(two_years, 12) == {}
    often = np.where(np.arange(120) % 5 == 2, 1000.0, 100) + noise
    assert find_outliers(often, 1) == {}
    days = np.arange("2023-01-01", "2024-02-05", dtype="datetime64[D]")
    day_of_month = (days - days.astype("datetime64[M]")).astype(int) + 1
    paydays = np.where(day_of_month == 25, 1000.0, 100) + rng.standard_normal(400)
    assert find_outliers(paydays, 7) == {}
    closed_on_sundays = np.where(np.arange(120) % 7 == 6, 0.0, 100 + noise)
    assert find_outliers(closed_on_sundays, 7) == {}
    for seed in (1315, 1317, 1324):
        counts = np.random.default_rng(seed)
        counts.standard_normal(120)
        assert find_outliers(counts.poisson(6, 100) + 0.0, 1) == {}  # with a single 0
    assert find_outliers(np.arange(80) + 5.0 * (np.arange(80) % 4), 4) == {}  # begins at 0


@pytest.mark.parametrize("length", [2, 3, 4])
@pytest.mark.parametrize(("kind", "season"), [("days", 7), ("trend", 1), ("counts", 1)])
def test_two_to_four_bad_values_in_a_row_are_outliers(kind: str, season: int, length: int) -> None:
    for seed in range(20):
        values = simulated(kind, 76_000 + seed)
        assert find_outliers(values, season) == {}
        place = 10 + seed
        bad = values.copy()
        bad[place : place + length] *= 15
        found = find_outliers(bad, season)
        assert [*found] == [*range(place, place + length)]
        assert max(found.values()) < 2 * values[: 30 + length].max()


@pytest.mark.filterwarnings("ignore:.*left out of the fit")
@pytest.mark.parametrize("count", [2, 4])
def test_two_or_four_bad_values_in_a_row_hardly_change_the_forecast(count: int) -> None:
    values = simulated("days", 77_000)
    past, later = values[:-F], values[-F:]
    bad = past.copy()
    bad[-4 - count : -4] *= 10
    without, with_it = (
        np.abs(Forecaster(horizon=F, season=7).fit([given]).predict()[0] - later).mean() for given in (past, bad)
    )
    assert with_it < 2 * without


def test_changes_of_some_rows_that_stay_or_come_again_are_no_outliers() -> None:
    rng = np.random.default_rng(78_000)
    noise = rng.standard_normal(120)
    for rows in (2, 3, 6, 20, 60):  # a new level to the end
        level = 100 + noise + np.where(np.arange(120) >= 120 - rows, 900.0, 0)
        assert find_outliers(level, 1) == {}, rows
        assert find_outliers(np.where(level > 500, 10 * (100 + 2 * noise), level), 1) == {}, (
            rows
        )  # also with more noise
    for length in (5, 8):  # longer than a run of outliers
        assert find_outliers(100 + noise + np.where(np.isin(np.arange(120), 50 + np.arange(length)), 900, 0), 1) == {}
    peaks = np.isin(np.arange(120) % 12, [10, 11])
    assert find_outliers(100 + noise + 900 * peaks, 12) == {}
    promotions = np.isin(np.arange(120), [20, 21, 55, 56, 90, 91])
    assert find_outliers(100 + noise + 900 * promotions, 1) == {}
    bursts = np.where(np.repeat(rng.random(60) < 0.15, 2), rng.lognormal(2, 0.7, 120), 0.0)
    assert find_outliers(bursts, 1) == {}


@pytest.mark.usefixtures("medians_only")
@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("factor", [10, 100, 1000, 0.01])
def test_bad_last_rows_or_a_new_level_are_followed_with_intervals_that_reach_to_the_level_before(
    length: int, factor: float
) -> None:
    """Nothing shows which of the two they are: a warning says so."""
    values = simulated("days", 80_000)
    past, later = values[:-F], values[-F:]
    before = Forecaster(horizon=F, season=7).fit([past]).predict()[0]
    changed = past.copy()
    changed[-length:] *= factor
    forecaster = Forecaster(horizon=F, season=7)
    with pytest.warns(UserWarning, match="the last values may be errors or a new level"):
        forecaster.fit([changed])
    lowest, median, highest = forecaster.predict_quantiles()[0].T
    assert np.abs(median / factor - later).mean() < 2 * np.abs(before - later).mean()
    assert (lowest <= 1.2 * np.minimum(before, median)).all()
    assert (highest >= 0.8 * np.maximum(before, median)).all()


@pytest.mark.parametrize("factor", [1000, 100, 10, 0.1, 0.01, 0.001])
def test_last_rows_in_another_unit_are_found(factor: float) -> None:
    t = np.arange(96)
    for seed in range(88_000, 88_004):
        rng = np.random.default_rng(seed)
        year = 200 + 0.5 * t + 30 * np.sin(2 * np.pi * t / 12) + 8 * rng.standard_normal(96)
        growth = 100 * 1.02**t * np.exp(0.02 * rng.standard_normal(96))
        growth[40] *= 10  # a typing error does not hide the change
        days = simulated("days", seed)
        closed_on_sundays = np.where(np.arange(len(days)) % 7 == 6, 0.0, days)
        cases = [(year, 12), (year[:24], 12), (growth, 1), (closed_on_sundays, 7), (days, 7)]
        for values, season in cases:
            assert unit_change(values, season) is None
            for count in (4, 5, 8, 12, 13, len(values) // 2):
                rows = np.flatnonzero(values)[-count:]
                changed = values.copy()
                changed[rows[0] :] *= factor
                found = unit_change(changed, season)
                assert found
                assert found[0] == rows[0]
                assert found[1] == pytest.approx(factor)
            rows = np.flatnonzero(values)[-12:]
            changed = values.copy()
            changed[rows[0] :] *= factor
            if factor > 1:
                changed[rows[4]] *= 10  # a typing error after the change does not hide it
                found = unit_change(changed, season)
                assert found
                assert found[0] == rows[0]
                assert found[1] == pytest.approx(factor)
            changed[-2:] = values[-2:]
            assert unit_change(changed, season) is None  # the unit before comes again


@pytest.mark.parametrize("factor", [10, 0.1, 1000])
def test_a_change_of_unit_is_found_at_each_day_of_a_strong_week(factor: float) -> None:
    """The change from Saturday to Sunday is a third, so that ten times on a Sunday is only three times the row before.

    And a tenth of a day before Sunday hides that the rows before this Sunday are in the new unit, too.
    """
    week = 1000 * np.resize([1, 1.1, 1.2, 1.1, 1.5, 2, 0.6], 160)
    for seed in range(99_000, 99_005):
        values = week * np.exp(0.05 * np.random.default_rng(seed).standard_normal(160))
        for first in range(100, 107):
            for end in (first + 4, first + 8, first + 12, first + 13, 160):
                changed = values[:end].copy()
                changed[first:] *= factor
                found = unit_change(changed, 7)
                assert found, (first, end)
                assert found[0] == first
                assert found[1] == pytest.approx(factor)


def test_levels_growth_promotions_and_intermittent_demand_are_no_change_of_unit() -> None:
    t = np.arange(100)
    for seed in range(89_000, 89_020):
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(100)
        shop = 100 * np.exp(0.03 * noise)
        for level in (0.02, 0.05, 0.2, 0.5, 1.5, 3, 6, 16, 50):
            for rows in (7, 13, 40, 80):
                assert unit_change(np.where(t >= 100 - rows, level * shop, shop), 1) is None
        december = np.where(t % 12 == 11, 10 * shop, shop)
        for end in (95, 96, 100):
            assert unit_change(december[:end], 12) is None
        assert unit_change(np.where(t % 20 >= 14, 10 * shop, shop), 1) is None  # promotions of six rows
        assert unit_change(np.exp(0.3 * noise.cumsum()), 1) is None
        assert unit_change(np.append(shop[:80], 100 * 1.5 ** t[:12]), 1) is None
        assert unit_change(np.where(rng.random(100) < 0.2, rng.lognormal(2, 0.7, 100), 0.0), 1) is None
        assert unit_change(rng.poisson(2, 100) + 0.0, 1) is None


@pytest.mark.parametrize(("count", "factor"), [(4, 10), (8, 1000), (40, 0.01)])
def test_a_forecast_after_a_change_of_unit_has_the_new_unit(count: int, factor: float) -> None:
    """All quantiles, those of `predict` and those of a cutoff, are the multiples of those in one unit."""
    t = np.arange(96)
    values = 200 + 0.5 * t + 30 * np.sin(2 * np.pi * t / 12) + 8 * np.random.default_rng(90_000).standard_normal(96)
    changed = values.copy()
    changed[-count:] *= factor
    same, forecaster = (Forecaster(horizon=F, season=12) for _ in range(2))
    expected = same.fit([values]).predict_quantiles()
    line = f"the last {count} values, from row {97 - count} on, are about "
    with pytest.warns(UserWarning, match=line):
        forecaster.fit([changed])
    np.testing.assert_allclose(forecaster.predict_quantiles(), factor * expected, rtol=1e-6)
    with pytest.warns(UserWarning, match=line):
        new = same.predict_quantiles([changed])
    np.testing.assert_allclose(new, factor * expected, rtol=1e-6)
    with pytest.warns(UserWarning, match=f"(wider intervals|the last {count} values, from row {31 - count} on)"):
        assert same.predict_quantiles([changed[-30:]])[0, :, 1].mean() == pytest.approx(factor * 240, rel=0.1)


@pytest.mark.parametrize("rows", [12, 15, 20, 26])
def test_the_backtest_converts_rows_in_another_unit(rows: int) -> None:
    """No forecast can know a change after its origin. Rows after the 80th are held out."""
    values = 100 + np.random.default_rng(91_000).standard_normal(100)
    (plain,) = backtest([series(values)], settings_of(horizon=4, season=1))
    values[100 - rows :] *= 1000
    (test,) = backtest([series(values)], settings_of(horizon=4, season=1))
    assert test.scores["model"]["mase"] == pytest.approx(plain.scores["model"]["mase"])
    np.testing.assert_allclose(test.forecasts, plain.forecasts)


def test_which_last_rows_may_be_a_new_level() -> None:
    for seed in range(20):
        values = simulated("trend", 81_000 + seed)
        assert rows_of_new_level(values, 1) == []
        for length, expected in ((2, [66, 67]), (3, [65, 66, 67]), (5, [])):
            changed = values.copy()
            changed[-length:] *= 20
            assert rows_of_new_level(changed, 1) == expected
    demand = np.where(np.random.default_rng(81_000).random(200) < 0.2, 5.0, 0.0)
    demand[-4:] = [0, 0, 5, 5]
    assert rows_of_new_level(demand, 1) == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_constant_series_with_other_last_values_has_an_interval(count: int) -> None:
    forecaster = Forecaster(horizon=4, season=7)
    with pytest.warns(UserWarning, match="the last values may be errors or a new level"):
        forecaster.fit([np.append(np.full(60, 5.0), np.full(count, 7.0))])
    np.testing.assert_allclose(forecaster.predict_quantiles()[0], [[5, 7, 7]] * 4)


def test_a_constant_part_before_a_series_begins_to_change_is_left_out() -> None:
    noise = np.random.default_rng(92_000).standard_normal(60)
    for level, count in ((250, 6), (250, 40), (5.5, 6)):
        changing = level + 10 * noise[:count]
        with_constant = np.append(np.full(90, 5.0), changing)
        assert constant_rows(with_constant) == 90
        with pytest.warns(UserWarning, match=f"before row 91 are 5, and none later; only the {count} rows after them"):
            forecaster = Forecaster(horizon=4, season=1).fit([with_constant])
        expected = Forecaster(horizon=4, season=1).fit([changing]).predict_quantiles()
        np.testing.assert_array_equal(forecaster.predict_quantiles(), expected)
        assert np.ptp(expected[0], axis=1).min() > 5
    with pytest.warns(UserWarning, match="before row 91 are 5"):
        forecaster.predict([with_constant])


def test_constant_parts_of_prices_and_of_intermittent_demand_are_used() -> None:
    rng = np.random.default_rng(93_000)
    constant = np.full(60, 5.0)
    changing = 5 + rng.random(60)
    for later in ([6] * 20, [6] * 20 + [7] * 20, [*changing[:20], 5], changing[:3], [*changing, *changing]):
        assert constant_rows(np.append(constant, later)) == 0
    assert constant_rows(np.append(np.zeros(60), rng.poisson(2, 60))) == 0
    assert constant_rows(constant) == 0


@pytest.mark.usefixtures("medians_only")
def test_two_different_last_values_of_a_constant_series_may_be_a_new_level() -> None:
    values = np.append(np.full(60, 5.0), [250, 240])
    assert rows_of_new_level(values, 1) == [60, 61]
    with pytest.warns(UserWarning, match="the last values may be errors or a new level"):
        forecaster = Forecaster(horizon=2, season=1).fit([values])
    np.testing.assert_allclose(forecaster.predict_quantiles()[0], [[5, 245, 245]] * 2)


@pytest.mark.filterwarnings("ignore:.*left out of the fit")
@pytest.mark.parametrize("after", [1, 2])
def test_bad_values_before_the_last_good_row_are_outliers(after: int) -> None:
    values = simulated("days", 82_000)
    bad = values.copy()
    rows = np.arange(len(bad) - after - 3, len(bad) - after)
    bad[rows] *= 10
    found = find_outliers(bad, 7)
    assert [*found] == [*rows]
    np.testing.assert_allclose([*found.values()], values[rows], rtol=0.5)


def test_a_forecast_of_values_with_far_last_rows_stays_near_their_range() -> None:
    values = simulated("days", 83_000)
    values[-5:] *= 500  # no change of unit
    values[40] = 0  # no logarithms
    forecast = Forecaster(horizon=30, season=7).fit([values]).predict()
    assert forecast.max() < 3 * values.max()


def test_a_known_promotion_is_no_outlier() -> None:
    rng = np.random.default_rng(72_000)
    promotion = np.isin(np.arange(204), [40, 90, 130, 170, 202]) * 1.0
    y = 100 + 5 * rng.standard_normal(204) + 600 * promotion
    y[200:] = np.nan
    (forecast,) = [forecast_of(np.stack([y, promotion], axis=1), target="y", known="promotion", season=1)]
    assert forecast[2, 1] > 500


@pytest.mark.parametrize("factor", [3, 5])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_known_promotion_that_multiplies_a_strong_season_is_no_outlier(factor: float, rows: int) -> None:
    """A typing error beside it is one."""
    zeros = np.zeros(1)
    ones = np.ones(1)
    setup = Setup(
        horizon=7, season=7, context=24, channel_names=None, step="", known_scale=Scale(zeros, ones), effect=zeros
    )
    for seed in range(107_000, 107_010):
        rng = np.random.default_rng(seed)
        t = np.arange(140)
        promotion = (rng.random(140) < 0.1) * 1.0
        promotion[-5:] = np.arange(-5, 0) >= -rows
        y = 200 * (1 + 0.5 * np.sin(2 * np.pi * t / 7)) * factor**promotion * np.exp(0.05 * rng.standard_normal(140))
        for row in (None, 70):
            if row:
                y[row] *= 100
            one = PreparedSeries(series(np.stack([y, promotion], axis=1)), setup)
            assert ([*one.left_out.outliers], one.left_out.new_level) == ([row] if row else [], {}), seed


def test_a_bad_value_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = simulated("days", 73_000)
    values[-5] *= 10
    days = np.datetime64("2024-01-01") + np.arange(len(values))
    rows = [f"{day},{value:.0f}" for day, value in zip(days, values, strict=True)]
    Path("f.csv").write_text("\n".join(["day,sold", *rows]))
    assert main(["forecast", "f.csv", "--horizon", "4"]) == 0
    out, err = capsys.readouterr()
    start = f"f.csv: values far from those of the rows around are left out of the fit: {days[-5]}: "
    assert start in out
    assert err.startswith(start)
    assert "times the usual" in err
    assert main(["predict", "forecaster.safetensors", "f.csv"]) == 0
    assert start in capsys.readouterr().err
    assert main(["forecast", "f.csv", "--horizon", "4", "--json", "--overwrite"]) == 0
    (outlier,) = json.loads(capsys.readouterr().out)["outliers"]
    expected = outlier.pop("expected")
    assert outlier == {"name": "f.csv", "row": 144, "time": str(days[-5]), "value": round(values[-5])}
    assert 0.3 < expected / (values[-5] / 10) < 3
    with pytest.warns(UserWarning, match=r"X\[0\]: values far from .*: row 144: .*times the usual"):
        Forecaster(horizon=4, season=7).fit([values])


def test_held_out_rows_decide_no_earlier_outlier() -> None:
    """The level of row 82 stays, which only later rows show: its first forecast does not follow it."""
    values = 100 + np.random.default_rng(74_000).standard_normal(100)
    values[82:] += 2000
    (test,) = backtest([series(values)], settings_of(horizon=2, season=1))
    first = {origin: forecast[0, 1] for origin, forecast in zip(test.origins, test.forecasts, strict=True)}
    assert first[83] < 200
    assert first[90] > 1500


def test_a_bad_value_that_later_rows_reveal_does_not_lower_the_scores() -> None:
    """The eight rows before the held-out ones are too few to find it."""
    values = 100 + np.random.default_rng(94_000).standard_normal(12)
    values[3] *= 5
    (test,) = backtest([series(values)], settings_of(horizon=4, season=1))
    assert test.series.left_out.outliers == {}
    naive = np.abs(values[8:] - values[7]).mean() / np.abs(np.diff(values[[4, 5, 6, 7]])).mean()
    assert test.scores["naive"]["mase"] == pytest.approx(naive, rel=0.4)


def test_the_change_over_a_season_of_a_sine_is_rounding() -> None:
    for dtype in (np.float64, np.float32):
        sine = np.sin(2 * np.pi * np.arange(120) / 12).astype(dtype).astype(float)
        assert mase_divisor(sine, 12) == pytest.approx(np.abs(np.diff(sine)).mean())


def test_rows_before_the_first_value_are_left_out() -> None:
    walk = np.random.default_rng(75_000).standard_normal(60).cumsum() + 50
    padded = np.append(np.full(20, np.nan), walk)
    forecasts = [Forecaster(horizon=4).fit([given]).predict_quantiles() for given in (walk, padded)]
    np.testing.assert_array_equal(*forecasts)


def test_the_backtest_follows_a_level_that_begins_just_before_its_cut() -> None:
    """The first forecast is moved to the new level; those that know more rows of it are not moved again."""
    rng = np.random.default_rng(0)
    level = np.append(100 + rng.normal(0, 2, 78), 160 + rng.normal(0, 2, 22))
    (test,) = backtest([series(level)], settings_of(horizon=6, season=1))
    assert test.scores["model"]["mase"] < 5


def test_the_start_of_a_growth_is_no_level() -> None:
    growing = np.append(100 + np.random.default_rng(1).normal(0, 1, 30), 100 + np.arange(1.0, 17) * 30)
    for rows in (32, 33, 34):
        assert rows_of_new_level(growing[:rows], 1) == []
