"""Columns of times; their steps and season, and the times that come next."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from xrnn.series.errors import DataError
from xrnn.series.reading.times import calendar_columns, hold_dates, read_times, show, step_of


def read(*cells: str) -> list[str]:
    return [show(time) for time in read_times(cells, lambda i: f"row {i + 1}")]


@pytest.mark.parametrize(
    "date",
    [
        *("2024-07-01", "2024-7-1", "2024/07/01", "20240701", "01.07.2024", "01-Jul-2024", "01-Jul-24"),
        *("1 Jul 2024", "1 July 2024", "Jul 1, 2024", "July 1, 2024", "July 1 2024", "July 2024", "Jul-24"),
        *("2024-07", "2024/07", "07/2024", "2024M07", "202407", "2024Q3"),
        *("Jul 24", "01JUL2024", "July, 2024", "1-July-2024", "Jul. 1, 2024"),
    ],
)
def test_the_forms_of_dates(date: str) -> None:
    assert read(date) == ["2024-07-01"]
    assert hold_dates([date]) == (date != "202407")  # without a name, it may as well be a value


CLOCKS = [f"{date} {t}" for date in ("31.07.2024", "7/31/2024", "Jul 31, 2024,") for t in ("14:30:00.0", "2:30 PM")]


@pytest.mark.parametrize("time", ["2024-07-31 14:30", "2024-07-31T14:30:00", "202407311430", "20240731143000", *CLOCKS])
def test_dates_with_a_time_of_day(time: str) -> None:
    assert read(time) == ["2024-07-31 14:30:00"]
    assert hold_dates([time])


@pytest.mark.parametrize(
    "date", ["2024_05_31", "2024-152", "31. 05. 2024", "KW 22 2024", "5-2024", "Mo 01.07.2024", "Mon, Jul 1, 2024"]
)
def test_dates_in_another_form_are_not_dropped(date: str) -> None:
    assert hold_dates([date])
    with one_line(DataError, f"row 1: '{date}' is not a time like the others", "as in 2024-05-31 12:00"):
        read(date)


@pytest.mark.parametrize("first", [0, 3, 14])
def test_complete_months_of_some_years_have_any_order(first: int) -> None:
    """A table may hold two series, and the second one may begin earlier. The newest month may also come first."""
    months = [f"{datetime(2022 + i // 12, i % 12 + 1, 1):%b-%y}" for i in range(24)]
    assert read(*months[first:], *months[:first])[0] == f"{2022 + first // 12}-{first % 12 + 1:02}-01"
    assert read(*reversed(months))[0] == "2023-12-01"


@pytest.mark.parametrize("name", ["Mark 5", "run-2024-1", "10.0.0.1", "sensor 12", "May", "1.2.3", "2024a"])
def test_other_text_is_not_like_a_date(name: str) -> None:
    assert not hold_dates([name])


JANUARY = [datetime(2001, 1, 1) + timedelta(days=i) for i in range(59)]  # and February


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["2/3/2024", "02/20/2024"], "2024-02-03"),
        (["3-2-2024", "20-02-2024"], "2024-02-03"),
        (["5/31/24 14:30"], "2024-05-31 14:30:00"),
        (["31/05/99", "01/06/99", "02/06/99"], "1999-05-31"),
        (["24-05-30", "24-05-31", "24-06-01"], "2024-05-30"),
        ([*(f"{day:02}.05.24" for day in range(1, 32)), "01.06.24"], "2024-05-01"),
        ([f"01.{1 + i % 12:02}.{23 + i // 12}" for i in range(14)], "2023-01-01"),
        (["31.01.24", "29.02.24", "31.03.24"], "2024-01-31"),
        ([f"{day:02}.02.24" for day in range(1, 29) if day % 7 not in (3, 4)], "2024-02-01"),  # working days
        (["2024-05-31 12:00:00 UTC"], "2024-05-31 12:00:00+00:00"),
        (["2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"], "2024-03-31"),  # midnights in Berlin
        (["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"], "2024-03-31 01:00:00+01:00"),
        (["2024010121", "2024010122"], "2024-01-01 21:00:00"),
        (["1706400000", "1706403600"], "1706400000"),
        (["Dec 98", "Dec 99", "Dec 00", "Dec 01"], "1998-12-01"),
        ([f"{day:02}-Jan-24" for day in range(1, 29)], "2024-01-01"),
        ([f"{day:02}-Jan-24 14:0{day % 10}" for day in range(1, 29)], "2024-01-01 14:01:00"),
        (["31-Jan-24", "29-Feb-24"], "2024-01-31"),
        (["01-Jul-24", "03-Jul-24", "11-Jul-24"], "2024-07-01"),  # unequal steps
        ([f"{each:%y-%b-%d}" for each in JANUARY], "2001-01-01"),  # steps are equal in one order alone
        ([f"{each:%d-%b-%y}" for each in JANUARY], "2001-01-01"),
        (["24-Jan-31", "24-Feb-29", "24-Mar-31"], "2024-01-31"),
    ],
)
def test_the_order_of_day_month_and_year_is_that_which_fits_all_cells(cells: list[str], first: str) -> None:
    assert read(*cells)[0] == first


OTHER = "is not a time like the others: expected all numbers or all"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["3/4/2024", "5/6/2024"], "row 1: '3/4/2024' may be 2024-03-04 or 2024-04-03, and no other row tells which"),
        *(([date], f"row 1: '{date}' may be 20") for date in ("31/05/24", "31.05.24")),
        (["24-05-31", "24-06-30"], "row 1: '24-05-31' may be 20"),
        (["1/2/24", "2/2/24"], "row 1: '1/2/24' may be 20"),
        (["02/20/2024", "20/02/2024"], f"row 2: '20/02/2024' {OTHER}"),
        (["2024-01-01", ""], f"row 2: '' {OTHER}"),
        (["2", "x"], f"row 2: 'x' {OTHER}"),
        (["2024-05-31 12:00:00.1234567"], f"row 1: '2024-05-31 12:00:00.1234567' {OTHER}"),  # nanoseconds
        (["2024-05-31 12:00Z", "2024-05-31 13:00"], f"row 2: '2024-05-31 13:00' {OTHER}"),
        (["31.05.2024", "31.05.2024 12:00"], f"row 2: '31.05.2024 12:00' {OTHER}"),
        (["Mai 2024", "Juni 2024"], f"row 1: 'Mai 2024' {OTHER}"),
        (["2024-01-01", "Summe"], "12:00, or remove the row"),
        (["1", "2024-01-01"], f"row 2: '2024-01-01' {OTHER}"),
        (["Mo 8", "Di 9", "Mi 10"], f"row 1: 'Mo 8' {OTHER}"),
        *(([f"{name}{day:02}" for day in range(1, 32)], f"'{name}01' may be a day") for name in ("Jan ", "May-")),
        ([f"{day:%b %d}" for day in JANUARY], "'Jan 01' may be a day, a month or a number: expected dates with one"),
        (["Nov 15", "Dec 15", "Jan 15"], "'Nov 15' may be a day, a month or a number"),
        (["Dec 05", "Jan 05"], "'Dec 05' may be a day, a month or a number"),
        (["Jan 31", "Feb 28", "Mar 31"], "'Jan 31' may be a day, a month or a number"),
        ([f"24-Jan-{day:02}" for day in range(1, 29)], "'24-Jan-01' may be 2001-01-24 or 2024-01-01, and no other row"),
        (["24-Jan-01", "24-Feb-05"], "'24-Jan-01' may be 2001-01-24 or 2024-01-01, and no other row tells which"),
        ([f"24-Jan-{day:02} 12:00" for day in range(1, 29)], "'24-Jan-01 12:00' may be 2001-01-24 12:00:00 or 2024-"),
        *(
            ([f"{month} {hour:02}:00" for hour in range(24)], f"'{month} 00:00' {OTHER}")
            for month in ("Jan 02", "Jan 2002", "2002 Jan", "01/2002", "2002/01", "2002M01")
        ),
        (["day 01", "day 02"], f"row 1: 'day 01' {OTHER}"),
        *(
            ([f"{day:{form}}" for day in JANUARY], "may be a day, a month or a number: expected dates with one reading")
            for form in ("%y%m%d", "%d%m%y", "%m%d%y", "%d%m%Y", "%m%d%Y")
        ),
        (["1012024", "2012024", "10012024"], "'1012024' may be a day, a month or a number"),
        (["01/01/2024", "01/02/2024"], "row 2: '01/02/2024' may be 2024-01-02 or 2024-02-01, and no other row tells"),
        (["Jan-02", "Jan-05", "Jan-08"], "'Jan-02' may be a day, a month or a number: expected dates with one"),
        *(
            ([f"31.07.2024 {clock}"], f"'31.07.2024 {clock}' {OTHER}")
            for clock in ("24:00", "13:00 pm", "0:30 AM", "12:60")
        ),
    ],
)
def test_times_that_cannot_be_read_get_one_line(cells: list[str], words: str) -> None:
    with one_line(DataError, words, "as in 2024-05-31 12:00"):
        read(*cells)


@pytest.mark.parametrize("separator", "/-")
@pytest.mark.parametrize("is_month_first", [True, False])
def test_the_order_of_day_and_month_is_that_with_equal_steps(separator: str, is_month_first: bool) -> None:
    months = [datetime(2023 + i // 12, 1 + i % 12, 5) for i in range(14)]
    hours = [datetime(2024, 5, 1 + i // 24, i % 24) for i in range(0, 72, 6)]
    form = separator.join(("%m", "%d", "%Y") if is_month_first else ("%d", "%m", "%Y"))
    for times in (months, hours, months[8:13]):
        assert read(*(f"{time:{form} %H:%M}" for time in times)) == [show(time) for time in times]
    for times in (months[:12], months[:2], [*months[:2], *months[4:]], hours[:4]):
        with one_line(DataError, " may be ", ", and no other row tells which: expected dates with one reading"):
            read(*(f"{time:{form} %H:%M}" for time in times))


CONTINUED = """
2020-01-31, 2020-02-29, 2020-03-31 | 12 | 2020-04-30, 2020-05-31
2020-10-01, 2021-01-01, 2021-04-01 | 4 | 2021-07-01, 2021-10-01
2024-02-27, 2024-02-28, 2024-02-29 | 7 | 2024-03-01, 2024-03-02
2024-05-02, 2024-05-03, 2024-05-06 | 5 | 2024-05-07, 2024-05-08
2024-05-01 22:00, 2024-05-01 23:00 | 24 | 2024-05-02, 2024-05-02 01:00:00
2024-05-01 23:50, 2024-05-01 23:55 | 288 | 2024-05-02, 2024-05-02 00:05:00
2024-05-01 22:30, 2024-05-01 23:15 | 32 | 2024-05-02, 2024-05-02 00:45:00
2024-05-01 12:00, 2024-05-01 12:01 | 60 | 2024-05-01 12:02:00
2024-05-01 12:00, 2024-05-01 12:07 | 1 | 2024-05-01 12:14:00
2024-05-01, 2024-05-08 | 52 | 2024-05-15
2024-05-01 12:00, 2024-05-01 18:00 | 4 | 2024-05-02, 2024-05-02 06:00:00
2020-01-01, 2021-01-01, 2022-01-01 | 1 | 2023-01-01, 2024-01-01
1, 3, 5 | 1 | 7, 9
1700000000, 1700003600 | 1 | 1700007200, 1700010800
2022-12-28, 2023-01-28, 2023-02-28 | 12 | 2023-03-28, 2023-04-28
2022-12-29, 2023-01-29, 2023-02-28 | 12 | 2023-03-29, 2023-04-29
2022-12-30, 2023-01-30, 2023-02-28 | 12 | 2023-03-30, 2023-04-30
2022-12-31, 2023-01-31, 2023-02-28 | 12 | 2023-03-31, 2023-04-30
2023-03-30, 2023-04-30 | 12 | 2023-05-30, 2023-06-30
2023-02-28, 2023-03-28, 2023-04-28 | 12 | 2023-05-28, 2023-06-28
2023-02-28, 2023-03-30, 2023-04-30 | 12 | 2023-05-30, 2023-06-30
2023-02-28, 2023-03-31 | 12 | 2023-04-30, 2023-05-31
2023-07-01, 2023-08-01, 2023-09-01 | 12 | 2023-10-01, 2023-11-01
2024-03-31 00:00+01:00, 2024-03-31 01:00+01:00, 2024-03-31 03:00+02:00 | 24 | 2024-03-31 04:00:00+02:00
2024-01-01 06:00Z, 2024-01-02 06:00Z | 7 | 2024-01-03 06:00:00+00:00, 2024-01-04 06:00:00+00:00
"""


@pytest.mark.parametrize("row", CONTINUED.strip().split("\n"))
def test_times_continue(row: str) -> None:
    before, season, after = (part.split(", ") for part in row.split(" | "))
    times = [float(time) if time.isdecimal() else datetime.fromisoformat(time) for time in before]
    step = step_of(times, "f")
    assert step is not None
    assert ([str(step.season)], [show(time) for time in step.after(times[-1], len(after))]) == (season, after)


@pytest.mark.parametrize("day", range(1, 32))
@pytest.mark.parametrize("months", [1, 3, 12])
def test_the_day_of_monthly_dates_follows_from_the_series(day: int, months: int) -> None:
    """Whatever the first and the last date are. A series that has only last days of months continues with them."""
    for first in range(12):
        dates = [datetime(2019 + i // 12, i % 12 + 1, 1) for i in range(first, first + 28 * months, months)]
        last_days = [calendar.monthrange(each.year, each.month)[1] for each in dates]
        dates = [each.replace(day=min(day, last)) for each, last in zip(dates, last_days, strict=True)]
        for count in (13, 14, 15, 16):
            if day < 31 and all(each.day == last for each, last in zip(dates[:count], last_days, strict=False)):
                continue
            step = step_of(dates[:count], "f")
            assert step is not None
            assert step.after(dates[count - 1], 12) == dates[count : count + 12]


def test_times_end_with_the_year_9999() -> None:
    for size in (timedelta(days=1), timedelta(days=365)):
        times = [datetime(9999, 12, 30) - size, datetime(9999, 12, 30)]
        step = step_of(times, "f")
        assert step is not None
        with one_line(DataError, "the steps after 9999-12-30 pass the year 9999: expected earlier ones; correct the"):
            step.after(times[-1], 2)


@pytest.mark.parametrize(
    ("days", "like", "name"),
    [
        (range(6, 11), "", "1 day"),  # Monday to Friday
        (range(6, 11), "1 working day", "1 working day"),
        ((10, 13, 14), "", "1 working day"),  # Friday, Monday, Tuesday
        ((10, 13), "", "3 days"),
        ((10, 13), "1 working day", "1 working day"),
        ((12, 13, 14), "1 working day", "1 day"),  # from a Sunday
    ],
)
def test_a_preferred_step_is_taken_if_several_fit(days: Sequence[int], like: str, name: str) -> None:
    step = step_of([datetime(2024, 5, day) for day in days], "f", like)
    assert step
    assert step.name == name


WORKING_DAYS = [each for i in range(60) if (each := datetime(2024, 1, 1) + timedelta(days=i)).weekday() < 5]


def test_working_days_may_lack_holidays() -> None:
    step = step_of([each for each in WORKING_DAYS if each.day != 15], "f")
    assert step
    assert (step.name, step.season) == ("1 working day", 5)
    assert step.after(WORKING_DAYS[-1], 2) == [datetime(2024, 3, 1), datetime(2024, 3, 4)]


def test_a_weekend_is_no_working_day() -> None:
    times = sorted([*WORKING_DAYS, datetime(2024, 1, 20)])
    for like in ("", "1 working day"):
        with one_line(DataError, "f has unequal steps between 2024-01-19 and 2024-01-20: expected steps of 1 working"):
            step_of(times, "f", like)


def test_working_days_have_one_time_of_day() -> None:
    times = [each.replace(hour=9 + (each.day == 10)) for each in WORKING_DAYS]
    with one_line(DataError, "f has a gap in its times between 2024-01-09 09:00:00 and 2024-01-10 10:00:00: expected"):
        step_of(times, "f", "1 working day")


def of_january(*days: float) -> list[datetime]:
    return [datetime(2024, 1, 1) + timedelta(days=day - 1) for day in days]


WEEK_OFF = [each for each in WORKING_DAYS if each.month > 1 or not 15 <= each.day <= 19]
MONTHS = [datetime(2019, 12, 15), *(datetime(2020, month, 1) for month in range(1, 8))]
SPRING = [datetime(2024, 3, 30 + i // 24, i % 24) for i in range(40) if i != 26]  # the clock changed
UTC_DAYS = [datetime(2024, 3, day, 23 - (day > 30), tzinfo=UTC) for day in range(20, 32)]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (WEEK_OFF, "f has a gap in its times between 2024-01-12 and 2024-01-22: expected steps of 1 working day; add"),
        (of_january(1, 3, 4, 5), "f has a gap in its times between 2024-01-01 and 2024-01-03: expected steps of 1 day"),
        (of_january(1, 2, 2.5, 3.5), "f has unequal steps between 2024-01-02 and 2024-01-02 12:00:00: expected steps"),
        (MONTHS, "f has unequal steps between 2019-12-15 and 2020-01-01: expected steps of 1 month; correct them"),
        (SPRING, "between 2024-03-31 01:00:00 and 2024-03-31 0"),
        (
            [each for each in JANUARY if each.weekday() < 6],
            "between 2001-01-06 and 2001-01-08: expected steps of 1 day; ",
        ),
        (UTC_DAYS, "1 day; correct them, or remove the column of times; if the clock changed there, give times with"),
        ([datetime(9999, 12, day) for day in (1, 30, 31)], "the steps after 9999-12-30 pass the year 9999: expected"),
        ([datetime(year, 1, 1) for year in (8000, 9500, 9999)], "the steps after 9500-01-01 pass the year 9999: ex"),
        ([-1e308, 1e308], "the column of times of f holds -1e+308 in row 1, column 1: expected numbers up to 1e+30"),
    ],
)
def test_unequal_steps_are_named(times: list[Any], words: str) -> None:
    with one_line(DataError, words):
        step_of(times, "f")


@pytest.mark.parametrize(
    ("name", "time", "after"),
    [
        *(("1 month", "2024-01-31", "2024-02-29"), ("3 months", "2024-01-15", "2024-04-15")),
        *(("12 months", "2023-01-01", "2024-01-01"), ("1 working day", "2024-05-31", "2024-06-03")),
        *(("7 days", "2024-05-31", "2024-06-07"), ("15 minutes", "2024-05-31", "2024-05-31 00:15:00")),
        *(("0.5 seconds", "2024-05-31", "2024-05-31 00:00:00.500000"), ("0.25", 2.0, "2.25")),
        *(("0.25", "2024-05-31", None), ("1 day", 2.0, None), ("", "2024-05-31", None), ("1 moon", "2024-05-31", None)),
    ],
)
def test_a_single_time_has_the_step_with_a_name(name: str, time: Any, after: str | None) -> None:
    given = time if isinstance(time, float) else datetime.fromisoformat(time)
    step = step_of([given], "f", like=name)
    assert (show(step.next(given)) if step else None) == after
    assert not step or step.name == name


def test_calendar_columns() -> None:
    hours = [datetime(2024, 1, 1, 6), datetime(2024, 1, 6, 6, tzinfo=UTC), datetime(2024, 1, 7)]
    week = calendar_columns("week", hours, np.array([[2.0], [0.0], [3.0]]))
    np.testing.assert_allclose(
        week,
        [[0] * 11 + [-2, 2, 0], [0, 0, 0, 0, 1, 0, 0, -1, 1, 0] + [0] * 4, [0] * 5 + [1, 1, 1, 0, 0, 3, 3, 0, 0]],
        atol=1e-12,
    )
    year = calendar_columns("year", [datetime(2024, 1, 1), datetime(2023, 7, 2, 15)], np.zeros((2, 1)))
    np.testing.assert_allclose(year[0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(year[1, :3], [-1, 1, -1], atol=1e-3)
    minutes = [datetime(2024, 1, 1) + timedelta(minutes=10 * i) for i in range(20)]
    step = step_of(minutes, "s")
    assert step
    assert [step.calendar(rows) for rows in (2 * 1008, 2 * 1008 - 1)] == ["week", ""]
    months = step_of([datetime(2024, month, 1) for month in range(1, 9)], "s")
    assert months
    assert months.calendar(999) == ""
