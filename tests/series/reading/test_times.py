"""Columns of times."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.errors import one_line
from xrnn.series.errors import DataError
from xrnn.series.reading.times import hold_dates, read_times
from xrnn.series.steps import show


def read(*cells: str) -> list[str]:
    return [show(time) for time in read_times(cells, lambda i: f"row {i + 1}")]


@pytest.mark.parametrize(
    "date",
    [
        *("2024-07-01", "2024-7-1", "2024/07/01", "20240701", "01.07.2024", "01-Jul-2024"),
        *("1 Jul 2024", "1 July 2024", "Jul 1, 2024", "July 1, 2024", "July 1 2024", "July 2024", "Jul-24"),
        *("2024-07", "2024/07", "07/2024", "2024M07", "202407", "2024Q3"),
        *("Jul 24", "01JUL2024", "July, 2024", "1-July-2024", "Jul. 1, 2024", "07.2024", "01.07.24"),
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


def test_months_with_a_point_are_dates() -> None:
    assert hold_dates([f"{month:02}.2024" for month in range(1, 13)])
    assert hold_dates([f"{2023 + i // 12}.{1 + i % 12:02}" for i in range(14)])
    assert not hold_dates([f"{month}.2024" for month in range(1, 13)])  # they may as well be values
    assert not hold_dates([f"2024.{month:02}" for month in range(1, 13)])


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
        (["31-Jan-24", "29-Feb-24", "31-Mar-24"], "2024-01-31"),
        # with points, the day comes first unless the dates contradict
        (["31.05.24"], "2024-05-31"),
        (["01.07.24", "03.07.24", "11.07.24"], "2024-07-01"),
        ([f"01.{month:02}.24" for month in range(1, 13)], "2024-01-01"),
        (["24.01.31", "24.02.29", "24.03.31"], "2024-01-31"),
        (["99.05.31", "99.06.01"], "1999-05-31"),
        ([f"31.12.{year:02}" for year in (*range(95, 100), *range(12))], "1995-12-31"),
        ([f"{each:%y.%m.%d}" for each in JANUARY], "2001-01-01"),
        ([f"{month:02}.2024" for month in range(1, 13)], "2024-01-01"),
        ([f"{1 + i % 12}.{2023 + i // 12}" for i in range(14)], "2023-01-01"),
        ([f"{2023 + i // 12}.{1 + i % 12:02}" for i in range(14)], "2023-01-01"),
        (["1.2", "2.2024"], "1.2"),
        ([f"{day:02}.02.24" for day in range(1, 29) if day % 7 not in (3, 4)], "2024-02-01"),  # working days
        (["2024-05-31 12:00:00 UTC"], "2024-05-31 12:00:00+00:00"),
        (["2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"], "2024-03-31"),  # midnights in Berlin
        (["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"], "2024-03-31 01:00:00+01:00"),
        (["2024010121", "2024010122"], "2024-01-01 21:00:00"),
        (["1706400000", "1706403600"], "1706400000"),
        (["Dec 98", "Dec 99", "Dec 00", "Dec 01"], "1998-12-01"),
        ([f"{each:%y-%b-%d}" for each in JANUARY], "2001-01-01"),  # steps are equal in one order alone
        ([f"{each:%d-%b-%y}" for each in JANUARY], "2001-01-01"),
        (["24-Jan-31", "24-Feb-29", "24-Mar-31"], "2024-01-31"),
    ],
)
def test_the_order_of_day_month_and_year_is_that_which_fits_all_cells(cells: list[str], first: str) -> None:
    assert read(*cells)[0] == first


OTHER = "is not a time like the others"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["3/4/2024", "5/6/2024"], "row 1: '3/4/2024' may be 2024-03-04 or 2024-04-03, and no other row tells which"),
        (["31/05/24"], "row 1: '31/05/24' may be 20"),
        (["24-05-31", "24-06-30"], "row 1: '24-05-31' may be 20"),
        (["1/2/24", "2/2/24"], "row 1: '1/2/24' may be 20"),
        (["02/20/2024", "20/02/2024"], f"row 2: '20/02/2024' {OTHER}"),
        (["2024-01-01", ""], f"row 2: '' {OTHER}"),
        (["2", "x"], f"row 2: 'x' {OTHER}"),
        (["2024-05-31 12:00:00.1234567"], f"row 1: '2024-05-31 12:00:00.1234567' {OTHER}"),  # nanoseconds
        (["2024-05-31 12:00Z", "2024-05-31 13:00"], f"row 2: '2024-05-31 13:00' {OTHER}"),
        (["31.05.2024", "31.05.2024 12:00"], f"row 2: '31.05.2024 12:00' {OTHER}"),
        (["Tammi 2024", "Helmi 2024"], f"row 1: 'Tammi 2024' {OTHER}"),
        (["2024-01-01", "Summe"], "12:00, or remove the row"),
        (["1", "2024-01-01"], f"row 2: '2024-01-01' {OTHER}"),
        (["Mo 8", "Di 9", "Mi 10"], f"row 1: 'Mo 8' {OTHER}"),
        *(([f"{name}{day:02}" for day in range(1, 32)], f"'{name}01' may be a day") for name in ("Jan ", "May-")),
        ([f"{day:%b %d}" for day in JANUARY], "'Jan 01' may be a day, a month or a number"),
        (["Nov 15", "Dec 15", "Jan 15"], "'Nov 15' may be a day, a month or a number"),
        (["Dec 05", "Jan 05"], "'Dec 05' may be a day, a month or a number"),
        (["Jan 31", "Feb 28", "Mar 31"], "'Jan 31' may be a day, a month or a number"),
        ([f"24-Jan-{day:02}" for day in range(1, 29)], "'24-Jan-01' may be 2001-01-24 or 2024-01-01, and no other row"),
        *(
            (
                [f"{datetime(2024, 1 + i, 1):%y-%b-%d}" for i in range(rows)],
                "24-Jan-01' may be 2001-01-24 or 2024-01-01",
            )
            for rows in (2, 12)
        ),
        ([f"{datetime(2024, 1 + i, 1):%d-%b-%y}" for i in range(12)], "01-Jan-24' may be 2024-01-01 or 2001-01-24"),
        ([f"{day:02}-Jan-24" for day in range(1, 29)], "'01-Jan-24' may be 2024-01-01 or 2001-01-24"),
        (["01-Jul-24", "03-Jul-24", "11-Jul-24"], "'01-Jul-24' may be 2024-07-01 or 2001-07-24, and no other row"),
        ([f"{month}.2024" for month in range(1, 13)], "'1.2024' may be 1.2024 or 2024-01-01, and no other row tells"),
        ([f"2024.{month:02}" for month in range(1, 13)], "'2024.01' may be 2024.01 or 2024-01-01, and no other row"),
        (["24-Jan-01", "24-Feb-05"], "'24-Jan-01' may be 2001-01-24 or 2024-01-01, and no other row tells which"),
        ([f"24-Jan-{day:02} 12:00" for day in range(1, 29)], "'24-Jan-01 12:00' may be 2001-01-24 12:00:00 or 2024-"),
        *(
            ([f"{month} {hour:02}:00" for hour in range(24)], f"'{month} 00:00' {OTHER}")
            for month in ("Jan 02", "Jan 2002", "2002 Jan", "01/2002", "2002/01", "2002M01")
        ),
        ([f"24.01.{day:02}" for day in range(1, 29)], "'24.01.01' may be 2001-01-24 or 2024-01-01, and no other row"),
        (["day 01", "day 02"], f"row 1: 'day 01' {OTHER}"),
        *(
            ([f"{day:{form}}" for day in JANUARY], "may be a day, a month or a number")
            for form in ("%y%m%d", "%d%m%y", "%m%d%y", "%d%m%Y", "%m%d%Y")
        ),
        (["1012024", "2012024", "10012024"], "'1012024' may be a day, a month or a number"),
        (["01/01/2024", "01/02/2024"], "row 2: '01/02/2024' may be 2024-01-02 or 2024-02-01, and no other row tells"),
        (["Jan-02", "Jan-05", "Jan-08"], "'Jan-02' may be a day, a month or a number"),
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
        with one_line(DataError, " may be ", ", and no other row tells which"):
            read(*(f"{time:{form} %H:%M}" for time in times))
