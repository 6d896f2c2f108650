"""The step of a series, its season, and the times that come next."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from xrnn.series.errors import DataError
from xrnn.series.steps import calendar_columns, show, step_of

JANUARY = [datetime(2001, 1, 1) + timedelta(days=i) for i in range(59)]  # and February

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
        with one_line(DataError, "the steps after 9999-12-30 pass the year 9999"):
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
        with one_line(DataError, "f has unequal steps between 2024-01-19 and 2024-01-20, but steps of 1 working"):
            step_of(times, "f", like)


def test_working_days_have_one_time_of_day() -> None:
    times = [each.replace(hour=9 + (each.day == 10)) for each in WORKING_DAYS]
    with one_line(DataError, "f has a gap in its times between 2024-01-09 09:00:00 and 2024-01-10 10:00:00, but steps"):
        step_of(times, "f", "1 working day")


def days_except(closed: str, count: int = 60) -> list[datetime]:
    """Days from a Monday on, without closed ones."""
    each = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(count)]
    return [day for day in each if f"{day:%a}" not in closed]


@pytest.mark.parametrize("closed", ["Sun", "Mon", "Mon, Sun", "Wed", "Fri, Sat", "Tue, Thu, Sat, Sun"])
def test_weekdays_without_rows_are_closed(closed: str) -> None:
    """Also if a holiday is missing."""
    every = days_except(closed)
    for times in (every, [each for each in every if each.day != 10 or each.month > 1]):
        step = step_of(times, "f")
        assert step
        assert (step.name, step.season) == (f"1 day except {closed}", 6 - closed.count(","))
        assert step.after(times[-1], 20) == [each for each in days_except(closed, 200) if each > times[-1]][:20]
        assert step_of(times[:3], "f", like=step.name) == step  # a short series of a trained model
        assert step_of(times[:1], "f", like=step.name) == step


def test_a_missing_day_is_a_gap_until_it_is_missing_for_three_weeks() -> None:
    with one_line(DataError, "f has a gap in its times between 2024-01-02 and 2024-01-04, but steps of 1 day"):
        step_of(days_except("Wed", 20), "f")
    with one_line(DataError, "between 2024-01-06 and 2024-02-05, but steps of 1 day except Sun elsewhere; add a row"):
        step_of([each for each in days_except("Sun") if not 7 < each.timetuple().tm_yday < 36], "f")


def test_open_days_have_a_year() -> None:
    step = step_of(days_except("Sun"), "f")
    assert step
    assert [step.calendar(rows) for rows in (627, 626)] == ["year", ""]


def of_january(*days: float) -> list[datetime]:
    return [datetime(2024, 1, 1) + timedelta(days=day - 1) for day in days]


WEEK_OFF = [each for each in WORKING_DAYS if each.month > 1 or not 15 <= each.day <= 19]
MONTHS = [datetime(2019, 12, 15), *(datetime(2020, month, 1) for month in range(1, 8))]
SPRING = [datetime(2024, 3, 30 + i // 24, i % 24) for i in range(40) if i != 26]  # the clock changed
UTC_DAYS = [datetime(2024, 3, day, 23 - (day > 30), tzinfo=UTC) for day in range(20, 32)]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (
            WEEK_OFF,
            "f has a gap in its times between 2024-01-12 and 2024-01-22, but steps of 1 working day elsewhere; add",
        ),
        (of_january(1, 3, 4, 5), "f has a gap in its times between 2024-01-01 and 2024-01-03, but steps of 1 day"),
        (of_january(1, 2, 2.5, 3.5), "f has unequal steps between 2024-01-02 and 2024-01-02 12:00:00, but steps"),
        (MONTHS, "f has unequal steps between 2019-12-15 and 2020-01-01, but steps of 1 month elsewhere; correct them"),
        (
            SPRING,
            "between 2024-03-31 01:00:00 and 2024-03-31 03:00:00, but steps of 1 hour elsewhere; if the clock left "
            "this hour out, give --timezone for a file, such as --timezone Europe/Berlin, or times with their offset; "
            "otherwise add a row",
        ),
        (
            [each for each in JANUARY[:20] if each.weekday() < 6],
            "between 2001-01-06 and 2001-01-08, but steps of 1 day elsewhere; ",
        ),
        (
            UTC_DAYS,
            "1 day elsewhere; correct them, or remove the column of times; if the clock changed there, give times with",
        ),
        (
            [datetime(9999, 12, day) for day in (1, 30, 31)],
            "the steps after 9999-12-30 pass the year 9999; correct the times",
        ),
        (
            [datetime(year, 1, 1) for year in (8000, 9500, 9999)],
            "the steps after 9500-01-01 pass the year 9999; correct the times",
        ),
        (
            [-1e308, 1e308],
            "the column of times of f holds -1e+308 in row 1, column 1; scale the numbers to at most 1e+30",
        ),
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
        *(("1 day except Mon, Sun", "2024-06-01", "2024-06-04"), ("1 day except Sun", 2.0, None)),
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
