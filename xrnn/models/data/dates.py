"""The times in a column of text: numbers, or dates in one form.

A date may be followed by a time of day, as in 31.05.2024 14:30 or 5/31/2024 2:30 PM; an ISO time also by an offset.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from xrnn.files import quoted
from xrnn.models.data.series import Time, as_number
from xrnn.models.errors import DataError

_FORMS: Final = (
    "%Y-%m-%d",  # without leading zeros: others are ISO dates
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%b %d %Y",
    "%B %d, %Y",
    "%B %d %Y",
    "%b-%d-%Y",
    "%Y/%m",
    "%m/%Y",
    "%YM%m",
    "%Y %b",
    "%b %Y",
    "%B %Y",
    "%b-%Y",
    "%b-%y",
)
_TWO_ORDERS: Final = (("%m/%d/%Y", "%d/%m/%Y"), ("%m-%d-%Y", "%d-%m-%Y"))  # a day above 12 shows which one is meant
_DIGITS: Final = {6: "%Y%m", 8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_CLOCK: Final = re.compile(r"(.*?),?[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.](\d{1,6}))?)?(?: ?([ap])m)?", re.IGNORECASE)
_MONTH: Final = (
    "(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
    "|dec(ember)?)"
)
_LIKE_A_DATE: Final = re.compile(  # 31/05/24, 2024_05_31, 05-2024, Fri 31 May
    r"\d{1,2}(?P<separator>[/.-] ?)\d{1,2}(?P=separator)\d\d(\d\d)?(\D|$)|"
    r"(19|20)\d\d[-/._ ]\d{1,3}(\D|$)|\d{1,2}[-/._ ](19|20)\d\d(\D|$)|"
    rf"(?=.*\d)(.*[\W\d_])?{_MONTH}([\W\d_]|$)",
    re.IGNORECASE,
)
_REMEDY: Final = "write the dates as in 2024-05-31 12:00"


def read_times(cells: Sequence[str], where: Callable[[int], str]) -> list[Time]:
    """The time in each cell. Times without an offset are in UTC if others have one.

    where   the start of an error about cells[i]: the file and the line

    In dates such as 3/4/2024, a day above 12 tells whether the month or the day is first; without one, the order that
    gives equal steps. Raises DataError if both orders, or neither, give equal steps, and for cells that are not all
    numbers or all dates in one form.
    """
    longest: list[Time | None] = []
    for readers in _READERS:
        found = [list(itertools.takewhile(lambda time: time is not None, map(read, cells))) for read in readers]
        complete = [[time for time in times if time is not None] for times in found if len(times) == len(cells)]
        if len(complete) == 2 and complete[0] != complete[1]:
            complete = [times for times in complete if _has_equal_steps(times)]
            if len(complete) != 1:
                raise DataError(
                    f"{where(0)}: {quoted(cells[0])!r} has the month or the day first, and no other row tells which: "
                    f"expected dates with one reading; {_REMEDY}"
                )
        if complete:
            return _comparable(complete[0])
        longest = max([longest, *found], key=len)
    i = len(longest)
    raise DataError(
        f"{where(i)}: {quoted(cells[i])!r} is not a time like the others: expected all numbers or all dates in one "
        f"form; {_REMEDY}"
    )


def is_date(cell: str) -> bool:
    """True for a date in any of the forms, also if its order of day and month is unclear."""
    if as_number(cell) is not None:
        return len(cell) > 6 and _digits(cell) is not None  # values may well be like 202405
    return bool(re.search(r"\d\d", cell)) and any(read(cell) is not None for read in itertools.chain(*_DATES))


def hold_dates(cells: Sequence[str]) -> bool:
    """True for a column of dates.

    Also True for date-like text that `read_times` can't read, so that it is reported and not used as values.
    Numbers are dates only if all of them are, as in 20240531.
    """
    if as_number(cells[0]) is not None:
        return is_date(cells[0]) and all(_digits(cell) for cell in cells)
    return is_date(cells[0]) or all(map(_LIKE_A_DATE.match, cells))


def iso_time(cell: str) -> datetime | None:
    """The time in an ISO date or time stamp, which may lack the day, as in 2024-05. None for other text."""
    cell = f"{cell}-01" if re.fullmatch(r"\d{4}-\d{2}", cell) else re.sub(" UTC$", "+00:00", cell)
    try:
        return datetime.fromisoformat(cell) if re.match(r"\d{4}-", cell) else None
    except ValueError:
        return None


def _has_equal_steps(times: Sequence[Time]) -> bool:
    """Whether the time between all different dates, in their order, is the same duration or number of months."""
    pairs = list(itertools.pairwise(sorted(time for time in set(times) if isinstance(time, datetime))))
    months = {(12 * (b.year - a.year) + b.month - a.month, b.day - a.day, b.time() != a.time()) for a, b in pairs}
    return len({b - a for a, b in pairs}) == 1 or (len(months) == 1 and months.pop()[1:] == (0, False))


def _comparable(times: Sequence[Time]) -> list[Time]:
    has_offset = any(isinstance(time, datetime) and time.tzinfo for time in times)
    return [
        time.replace(tzinfo=UTC) if has_offset and isinstance(time, datetime) and not time.tzinfo else time
        for time in times
    ]


_Reader = Callable[[str], Time | None]


def _quarter(cell: str) -> datetime | None:
    found = re.fullmatch(r"(\d{4})[ -]?Q([1-4])", cell)
    return datetime(int(found[1]), 3 * int(found[2]) - 2, 1) if found else None


def _digits(cell: str) -> datetime | None:
    form = _DIGITS.get(len(cell)) if cell.isascii() and cell.isdecimal() else None
    return _parsed(cell, form) if form and "1900" <= cell[:4] < "2100" else None


def _in_form(form: str) -> _Reader:
    def read(cell: str) -> datetime | None:
        clock = _CLOCK.fullmatch(cell)
        date = _parsed(clock[1] if clock else cell, form)
        return _at(date, clock) if date and clock else date

    return read


def _parsed(cell: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(cell, form)
    except ValueError:
        return None


def _at(date: datetime, clock: re.Match[str]) -> datetime | None:
    """`date` at a time of day. None for one that does not exist, such as 25:00 or 13:00 PM."""
    hour, half = int(clock[2]), (clock[6] or "").lower()
    if half:
        hour = hour % 12 + 12 * (half == "p") if 1 <= hour <= 12 else 24
    try:
        return date.replace(
            hour=hour,
            minute=int(clock[3]),
            second=int(clock[4] or 0),
            microsecond=int((clock[5] or "").ljust(6, "0")),
        )
    except ValueError:
        return None


_DATES: Final[tuple[tuple[_Reader, ...], ...]] = (
    (_digits,),
    (iso_time,),
    (_quarter,),
    *((_in_form(form),) for form in _FORMS),
    *(tuple(map(_in_form, forms)) for forms in _TWO_ORDERS),
)
_READERS: Final = (_DATES[0], (as_number,), *_DATES[1:])
