"""Days on which a shop is closed: weekdays and holidays."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.closed_days import Shop, holidays, shops, write
from tests.errors import one_line
from xrnn.commands.main import main
from xrnn.series import Forecaster
from xrnn.series.errors import DataError
from xrnn.series.forecast.closed_days import with_holidays, without_closed_days
from xrnn.series.forecast.estimator import closed_lines
from xrnn.series.forecast.fit import backtest, fit_series
from xrnn.series.forecast.series import Settings
from xrnn.series.one_series import Series
from xrnn.series.steps import step_of
from xrnn.typing import HostArray

MONDAY = datetime(2024, 1, 1)
pytestmark = pytest.mark.usefixtures("workdir")


def made(values: HostArray, *, first: datetime = MONDAY) -> Series:
    """A series of days from a Monday on."""
    times = tuple(first + timedelta(i) for i in range(len(values)))
    return Series(values[:, None] if values.ndim == 1 else values, None, "f.csv", times=times)


def open_days(series: Series, closed: tuple[int, ...], holidays: tuple[int, ...] = ()) -> Series:
    """Without these weekdays, and without the rows `holidays`."""
    times: Any = series.times
    kept = [i for i, time in enumerate(times) if time.weekday() not in closed and i not in holidays]
    return replace(series, values=series.values[kept], times=tuple(times[i] for i in kept))


def sales(count: int, seed: int = 0) -> HostArray:
    """Sales of days, with a strong week."""
    rng = np.random.default_rng(seed)
    return np.array([10.0, 12, 11, 15, 20, 30, 5])[np.arange(count) % 7] * (1 + 0.05 * rng.standard_normal(count))


# ---- holidays are rows for the model alone ----


def test_holidays_are_copies_of_a_week_before_that_keep_the_week_in_step() -> None:
    every = open_days(made(np.arange(70.0)), (6,))
    given = open_days(made(np.arange(70.0)), (6,), holidays=(1, 23, 30, 58))
    step = step_of(given.times or (), "f")
    found = with_holidays(given, step)
    assert found.times == every.times
    closed = [i for i, is_closed in enumerate(found.closed) if is_closed]
    assert [every.values[i, 0] for i in closed] == [1, 23, 30, 58]
    expected = every.values[:, 0].copy()
    expected[closed] = [0, 16, 16, 51]  # the row before in the first week, then those of 7 and of 14 days before
    np.testing.assert_array_equal(found.values[:, 0], expected)


def test_a_holiday_after_the_last_value_has_no_value() -> None:
    values = np.column_stack([np.arange(70.0), np.arange(70.0) % 5])
    values[60:, 0] = np.nan
    found = with_holidays(
        open_days(made(values), (6,), holidays=(64,)), step_of(open_days(made(values), (6,)).times or (), "f")
    )
    assert found.target_rows.stop == sum(i % 7 != 6 for i in range(60))
    row = found.closed.index(True)
    assert found.values[row, 1] == values[57, 1]


def test_holidays_are_not_scored_and_change_no_unit() -> None:
    given = open_days(made(sales(140)), (6,), holidays=(30, 130))
    (test,) = backtest([given], Settings(horizon=3))
    one = test.series
    _, actual = one.held_out()
    row = [i for i, is_closed in enumerate(one.given.closed) if is_closed][1]
    assert not np.isnan(one.target).any()
    assert np.isnan(actual).sum() == np.sum(np.abs(row - 1 - test.origins) <= 1)
    values = with_holidays(given, step_of(given.times or (), "f")).values[:, 0].copy()
    values[[i for i, is_closed in enumerate(one.given.closed[: len(values)]) if is_closed]] = np.nan
    changes = np.abs(values[6 : one.cut] - values[: one.cut - 6])
    assert one.mase_divisor == pytest.approx(np.nanmean(changes))


def test_closed_days_ahead_are_not_forecast() -> None:
    """Three steps follow, whichever days ahead have no rows, also if they are later than the horizon of the model."""
    values = np.column_stack([sales(140), np.zeros(140)])
    values[120:, 0] = np.nan
    full = open_days(made(values), (6,))
    (one,) = fit_series([full], Settings(horizon=3))
    with_holiday = open_days(made(values), (6,), holidays=(121, 122))  # a Wednesday and a Thursday
    forecaster = Forecaster(horizon=3)
    forecaster.learn([full])
    forecast = forecaster.forecast(with_holiday)
    assert [time.day for time in forecast.times_ahead if isinstance(time, datetime)] == [30, 3, 4]
    assert forecast.forecast.shape == (3, 3)
    np.testing.assert_allclose(forecast.median[0], one.median[0])
    assert np.abs(forecast.median / [11, 20, 30] - 1).max() < 0.2  # of Tuesday, Friday, Saturday
    assert len(forecaster.forecast(with_holiday, steps=2).median) == 2
    assert (np.diff(forecast.forecast) > 0).all()


def test_the_score_is_that_of_open_days() -> None:
    values = sales(140)
    given = open_days(made(values), (6,), holidays=(137,))
    forecaster = Forecaster(horizon=4)
    forecaster.learn([given])
    one = forecaster.forecast(given, rows=len(given.values) - 4)
    np.testing.assert_array_equal(one.target[one.rows_ahead], given.values[-4:, 0])


# ---- rows of 0 and empty cells ----


@pytest.mark.parametrize("empty", [0.0, np.nan])
def test_a_weekday_of_zeros_or_empty_cells_is_closed(empty: float) -> None:
    values = sales(70)
    values[6::7] = empty
    (found,) = without_closed_days([made(values)])
    assert found.times == open_days(made(values), (6,)).times
    assert found.idle_rows == (10 if empty == 0 else 9)  # the last one is after the last value
    assert without_closed_days([made(values)], season=7)[0].idle_rows == 0
    values[30] = 0.0  # a holiday
    (found,) = without_closed_days([made(values)])
    assert found.times == open_days(made(values), (6,), holidays=(30,)).times


def test_zeros_of_all_days_are_values() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(70) < 0.3, 5.0, 0)
    values[6::7] = 0.0
    (found,) = without_closed_days([made(values)])
    assert found.idle_rows == 0
    assert len(found.values) == 70


def test_a_weekday_is_closed_only_if_it_is_in_all_series() -> None:
    values, others = sales(70), sales(70)
    values[6::7] = 0.0
    assert [each.idle_rows for each in without_closed_days([made(values), made(others)])] == [0, 0]
    others[6::7] = 0.0
    assert [each.idle_rows for each in without_closed_days([made(values), made(others)])] == [10, 10]


def test_a_model_leaves_out_closed_days_of_a_new_series() -> None:
    values = sales(70)
    values[6::7] = 0.0
    forecaster = Forecaster(horizon=6)
    forecaster.learn([open_days(made(values), (6,))])
    assert forecaster.model_.season == 6
    forecast = forecaster.forecast(made(values))
    np.testing.assert_array_equal(forecast.forecast, forecaster.forecast(open_days(made(values), (6,))).forecast)
    values[6] = 3.0
    with one_line(DataError, "f.csv has steps of 1 day, but the model was trained on steps of 1 day except Sun"):
        forecaster.forecast(made(values))


# ---- weekdays on which a shop is rarely open ----


@pytest.mark.parametrize("empty", [None, 0.0, np.nan])
def test_a_few_open_sundays_are_left_out_and_named(empty: float | None) -> None:
    values = sales(364)
    given = made(values)
    times: Any = given.times
    open_sundays = [6, 90, 188, 300]
    of_closed = [i for i in range(6, 364, 7) if i not in open_sundays]
    if empty is None:
        given = open_days(given, (), holidays=tuple(of_closed))
    else:
        given.values[of_closed, 0] = empty
    (found,) = without_closed_days([given])
    every = open_days(made(values), (6,))
    assert found.times == every.times
    assert [times.index(day) for day in found.rare_rows] == open_sundays
    assert without_closed_days([given], season=7)[0].times == given.times
    forecaster = Forecaster(horizon=6)
    forecaster.learn([found])
    lines = closed_lines([forecaster.forecast(given)])
    assert lines[-1].startswith("f.csv: 4 open days on Sun are left out, the first of them 2024-01-07, ")


def test_a_weekday_with_every_tenth_day_or_more_is_no_rare_one() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(364) < 0.3, 5.0, 0)
    assert without_closed_days([made(values)])[0].rare_rows == ()
    values = sales(70)  # too few weeks to tell
    values[13::7] = 0
    assert without_closed_days([made(values)])[0].rare_rows == ()


# ---- files and frames ----


def plan(seed: int = 0, ahead: int = 12) -> list[Shop]:
    """Three shops whose last rows hold only the promotion. Ascension Day is a holiday among them."""
    count = sum(day < datetime(2024, 5, 4) for day in shops(seed)[0].days)
    planned = count + ahead
    unknown = np.full(ahead, np.nan)
    return [
        Shop(shop.name, shop.days[:planned], np.append(shop.sold[:count], unknown), shop.promotion[:planned])
        for shop in shops(seed)
    ]


def forecast(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[str], str, str]:
    """The rows of the table, the report and stderr."""
    options = ("--id", "Filiale", "--target", "Umsatz", "--known", "Aktion", "--horizon", "12", "--table", "next.csv")
    assert main(["forecast", *words, *options, "--overwrite"]) == 0
    out, err = capsys.readouterr()
    return Path("next.csv").read_text("utf-8-sig").splitlines(), out, err


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_three_shops_closed_on_sundays_and_holidays(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    shops_ahead = plan()
    write(shops_ahead, Path("shops.csv"))
    file = "shops.csv"
    if kind == "xlsx":
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("openpyxl")
        frame = pandas.read_csv(
            file, sep=";", decimal=",", thousands=".", encoding="cp1252", parse_dates=["Datum"], dayfirst=True
        )
        frame.to_excel("shops.xlsx", index=False)
        file = "shops.xlsx"
    rows, out, _ = forecast(capsys, file)
    assert "steps of 1 day except Sun" in out
    assert "season 6" in out
    days = [f"{day:%Y-%m-%d}" for day in shops_ahead[0].days[-12:]]
    assert "2024-05-09" not in days  # Ascension Day
    shown = [day for row in rows for day in days if day in row]
    assert shown == days * 3


def test_rows_of_zeros_on_sundays_and_holidays_change_no_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    write(plan(), Path("shops.csv"))
    rows, _, _ = forecast(capsys, "shops.csv")
    closed = [Shop(shop.name, *every_day(shop)) for shop in plan()]
    write(closed, Path("shops.csv"))
    with_zeros, out, err = forecast(capsys, "shops.csv")
    assert with_zeros == rows
    count = sum(int((shop.sold == 0).sum()) for shop in closed)
    for text in (out, err):
        assert (
            f"3 series: {count} rows of 0 or empty cells count as closed days, and steps are 1 day except Sun; closed "
            "days are neither forecast nor scored; if the rows are of open days, give --season 7\n" in text
        )


def every_day(shop: Shop) -> tuple[list[datetime], HostArray, HostArray]:
    """Also closed days, with sales of 0, up to the last value, and the planned days."""
    end = shop.days[-13]
    places = {day: i for i, day in enumerate(shop.days)}
    past = [shop.days[0] + timedelta(i) for i in range((end - shop.days[0]).days + 1)]
    days = [*past, *shop.days[-12:]]
    sold = [shop.sold[places[day]] if day in places else 0.0 for day in days]
    promotion = [shop.promotion[places[day]] if day in places else 0.0 for day in days]
    return days, np.array(sold), np.array(promotion)


def test_an_index_of_custom_business_days_leaves_out_its_holidays_ahead() -> None:
    pandas = pytest.importorskip("pandas")
    open_ = pandas.offsets.CustomBusinessDay(weekmask="Mon Tue Wed Thu Fri Sat", holidays=sorted(holidays()))
    index = pandas.date_range("2023-01-02", periods=112, freq=open_)
    given = pandas.Series(sales(140)[[i for i in range(140) if i % 7 != 6]][:100], index[:100])
    forecaster = Forecaster(horizon=12).fit(given)
    assert forecaster.model_.season == 6
    predicted = forecaster.predict()
    assert datetime(2023, 5, 1) not in predicted.index  # one of three holidays ahead
    assert [*predicted.index] == [*index[100:]]
    table = forecaster.cross_validation(given, windows=2)
    assert [*table.time] == [*index[76:100]]
    np.testing.assert_array_equal(table.value, given.iloc[76:])
    scores = forecaster.cross_validation(given, windows=2, scores=True)
    error = np.abs(table["0.5"] - table.value)[:12].mean()
    assert scores.mase[0] == pytest.approx(error / mean_change(given[:76]))


@pytest.mark.parametrize("weekmask", ["", "Mon Tue Wed Thu Fri Sat", "Tue Wed Thu Fri Sat", "Mon Wed Fri"])
def test_the_frequency_of_an_index_tells_the_closed_days_of_less_than_three_weeks(weekmask: str) -> None:
    pandas = pytest.importorskip("pandas")
    open_ = pandas.offsets.CustomBusinessDay(weekmask=weekmask) if weekmask else pandas.offsets.BusinessDay()
    index = pandas.date_range("2024-01-03", periods=17, freq=open_)[:12]
    given = pandas.Series(np.arange(12.0) ** 1.5, index)
    forecaster = Forecaster(horizon=5).fit(given)
    later = pandas.date_range("2024-01-03", periods=17, freq=open_)[12:]
    assert [*forecaster.predict().index] == [*later]
    assert [*forecaster.predict(given[3:]).index] == [*later]


def mean_change(values: Any) -> float:
    """The mean change from a day to the same weekday a week before, if both are open."""
    before = values.shift(freq="7D")
    return float((values - before).abs().mean())
