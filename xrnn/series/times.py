"""Times: reading a column of text, which holds numbers or dates in one form; the step of a series, and later times.

A date may be followed by a time of day, as in 31.05.2024 14:30 or 5/31/2024 2:30 PM; an ISO time also by an offset.
"""

from __future__ import annotations

import calendar
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from xrnn.files import printable, quoted
from xrnn.series.checks import Time, as_number
from xrnn.series.errors import DataError, param

_FORMS: Final = (
    "%Y-%m-%d",  # without leading zeros: others are ISO dates
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d %b %Y",  # names of months as `_plain` writes them
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%b %d %Y",
    "%b-%d-%Y",
    "%Y/%m",
    "%m/%Y",
    "%YM%m",
    "%Y %b",
    "%b %Y",
    "%b %y",
    "%b-%Y",
    "%b-%y",
)
_SEVERAL_ORDERS: Final = (  # a day above 12, or equal steps, show which one is meant
    ("%m/%d/%Y", "%d/%m/%Y"),
    ("%m-%d-%Y", "%d-%m-%Y"),
    ("%m/%d/%y", "%d/%m/%y", "%y/%m/%d"),
    ("%m-%d-%y", "%d-%m-%y", "%y-%m-%d"),
    ("%d.%m.%y", "%y.%m.%d"),
)
_DIGITS: Final = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_CLOCK: Final = re.compile(r"(.*?),?[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.](\d{1,6}))?)?(?: ?([ap])m)?", re.IGNORECASE)
_MONTH: Final = (  # in English and German
    "(jan(uary?)?|feb(ruary?)?|mar(ch)?|märz?|mrz|apr(il)?|ma[iy]|jun[ei]?|jul[iy]?|aug(ust)?|sept?(ember)?"
    "|o[ck]t(ober)?|nov(ember)?|de[cz](ember)?)"
)
_MONTH_NAME: Final = re.compile(rf"(?<![^\W\d_]){_MONTH}(?![^\W\d_])\.?", re.IGNORECASE)
_ENGLISH: Final = {"mär": "mar", "mrz": "mar", "mai": "may", "okt": "oct", "dez": "dec"}
_WEEKDAY: Final = re.compile(
    r"((mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?|mo|di|mi|do|fr|sa|so"
    r"|(mon|diens|donners|frei|sams|sonn)tag|mittwoch|sonnabend)[.,]{0,2} +(?=.*\d)",
    re.IGNORECASE,
)
_LIKE_A_DATE: Final = re.compile(  # 31/05/24, 2024_05_31, KW 05-2024, 31 May
    r"([^\W\d_]{1,9}[.,]? )?(\d{1,2}(?P<separator>[/.-] ?)\d{1,2}(?P=separator)\d\d(\d\d)?(\D|$)|"
    r"(19|20)\d\d[-/._ ]\d{1,3}(\D|$)|\d{1,2}[-/._ ](19|20)\d\d(\D|$))|"
    rf"(?=.*\d)(.*[\W\d_])?{_MONTH}([\W\d_]|$)",
    re.IGNORECASE,
)
_REMEDY: Final = "write the dates as in 2024-05-31 12:00"
_CLOCK_CHANGE: Final = "if the clock changed there, give times with their offset, as in 2024-03-31 03:00+02:00"
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_UNITS: Final = {"day": _DAY, "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}
_MOST_HOLIDAYS: Final = 0.08  # of the working days: 20 a year
_WEEK: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WORKING_DAYS: Final = frozenset(range(5))
_LEAST_WEEKS: Final = 3  # in which a weekday other than Saturday and Sunday is missing, to be a closed day
_ROUNDING: Final = 1e-6  # numbers are equal steps if they differ by less than this share
_SEASONS: Final = {  # the natural season of a step
    timedelta(minutes=1): 60,
    **{timedelta(minutes=n): 24 * 60 // n for n in (5, 10, 15, 20, 30)},  # a day
    **{timedelta(hours=n): 24 // n for n in (1, 2, 3, 4, 6, 8, 12)},
    _DAY: 7,
    7 * _DAY: 52,
}
_SEASONS_OF_MONTHS: Final = {1: 12, 3: 4}


def read_times(cells: Sequence[str], where: Callable[[int], str], *, dates: bool = False) -> list[Time]:
    """The time in each cell. Times without an offset are in UTC if others have one.

    where   the start of an error about cells[i]: the file and the line
    dates   True if the column is called a date: digits such as 28012024 and 240128 are then dates, too

    Dates such as 3/4/2024 and 3/4/24 are read in the order of day, month and year that fits all cells; if several fit,
    in the one that gives equal steps, see `step_of`. Raises DataError if several of them do, or none does, and for
    cells that are not all numbers or all dates in one form.
    """
    every, cells = cells, [*dict.fromkeys(cells)]  # many series may have the same times
    plain = [*map(_plain, cells)]
    if _may_be_days(plain):
        raise DataError(
            f"{where(0)}: {quoted(cells[0])!r} may be a day without a year, or a month: expected dates with one "
            f"reading; {_REMEDY}"
        )
    longest: list[Time | None] = []
    for readers in ((_digits,), *(_DIGITS_IN_SEVERAL_ORDERS if dates else ()), (as_number,), *_DATES[1:]):
        texts = cells if as_number in readers else plain  # "Mo 8" is no number
        found = [list(itertools.takewhile(lambda time: time is not None, map(read, texts))) for read in readers]
        complete = [[time for time in times if time is not None] for times in found if len(times) == len(cells)]
        if any(times != complete[0] for times in complete):
            equal = [times for times in complete if _have_a_step(times)]
            if len(equal) != 1:
                cell, *read = next(each for each in zip(cells, *complete, strict=True) if len({*each[1:]}) > 1)
                readings = " or ".join(map(show, dict.fromkeys(read)))
                raise DataError(
                    f"{where(every.index(cell))}: {quoted(cell)!r} may be {readings}, and no other row tells which: "
                    f"expected dates with one reading; {_REMEDY}"
                )
            complete = equal
        if complete:
            times = dict(zip(cells, _comparable(complete[0]), strict=True))
            return [times[cell] for cell in every]
        longest = max([longest, *found], key=len)
    odd = cells[len(longest)]
    raise DataError(
        f"{where(every.index(odd))}: {quoted(odd)!r} is not a time like the others: expected all numbers or all dates "
        f"in one form; {_REMEDY}, or remove the row"
    )


def hold_dates(cells: Sequence[str]) -> bool:
    """True for a column of dates.

    It is one if the first cell is a date in a known form, or if at least half of the cells resemble dates.
    Numbers are dates only if all cells are, as in 20240531.
    """
    if as_number(cells[0]) is not None:
        return len(cells[0]) > 6 and all(map(_digits, cells))  # values may well be like 202405
    like = [cell for cell in cells if as_number(cell) is None and _LIKE_A_DATE.match(_plain(cell))]
    first = _plain(cells[0])
    is_date = re.search(r"\d\d", first) and any(read(first) for read in itertools.chain(*_DATES))
    return bool(is_date) or 2 * len(like) >= len(cells)


def _plain(cell: str) -> str:
    """A date without its weekday, and with the English name of its month: Mi 1. Mai 2024 → 1 may 2024."""
    cell = _WEEKDAY.sub("", cell, 1) if _WEEKDAY.match(cell) else cell
    named = _MONTH_NAME.sub(lambda name: _ENGLISH.get(name[1][:3].lower(), name[1][:3]), cell)
    return named.replace(". ", " ") if named != cell else cell


def _may_be_days(plain: Sequence[str]) -> bool:
    """True for neighbours such as Jan 01, Jan 02: days without a year, or the same month of several years."""
    if not all(re.fullmatch(r"[a-z]{3}[ -](0[1-9]|[12]\d|3[01])", cell, re.IGNORECASE) for cell in plain):
        return False
    return any(a[:3].lower() == b[:3].lower() and a[-2:] != b[-2:] for a, b in itertools.pairwise(plain))


def iso_time(cell: str) -> datetime | None:
    """The time in an ISO date or time stamp, which may lack the day, as in 2024-05. None for other text.

    Also None for a time with nanoseconds, which a datetime does not hold.
    """
    if re.search(r"\.\d{6}0*[1-9]", cell):
        return None
    cell = f"{cell}-01" if re.fullmatch(r"\d{4}-\d{2}", cell) else re.sub(" UTC$", "+00:00", cell)
    try:
        return datetime.fromisoformat(cell) if re.match(r"\d{4}-", cell) else None
    except ValueError:
        return None


def _have_a_step(times: Sequence[Time]) -> bool:
    """Whether the different dates, in their order, have a step."""
    try:
        return step_of(sorted(set(times)), "") is not None
    except DataError:
        return False


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


def _in_digits(form: str) -> _Reader:
    length = 8 if "%Y" in form else 6
    return lambda cell: _parsed(cell, form) if len(cell) == length and cell.isdecimal() else None


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
    hour, minute, second, part, half = clock.groups()[1:]
    form = "%I:%M:%S.%f %p" if half else "%H:%M:%S.%f m"
    time = _parsed(f"{hour}:{minute}:{second or 0}.{part or 0} {half or ''}m", form)
    return time and datetime.combine(date, time.time())


_DATES: Final[tuple[tuple[_Reader, ...], ...]] = (
    (_digits,),
    (iso_time,),
    (_quarter,),
    *((_in_form(form),) for form in _FORMS),
    *(tuple(map(_in_form, forms)) for forms in _SEVERAL_ORDERS),
)
_DIGITS_IN_SEVERAL_ORDERS: Final = tuple(
    tuple(_in_digits(form) for form in forms) for forms in (("%d%m%Y", "%m%d%Y"), ("%y%m%d", "%d%m%y", "%m%d%y"))
)


# ---- the step of a series, the season that follows from it, and the times that come next ----


@dataclass(frozen=True, slots=True)
class Step:
    """The time between two steps: a number, a duration, months, or the days of some weekdays.

    day        of the month, if the step is in months; a shorter month has its last day instead
    weekdays   the numbers of those that are steps, 0 for Monday, such as the days when a shop is open; empty for all
    local      True if the UTC offset changes in the series; forecast times then have no offset
    """

    size: float | timedelta
    months: int = 0
    day: int = 0
    weekdays: frozenset[int] = frozenset()
    local: bool = False

    @property
    def season(self) -> int:
        """The natural season, in steps; 1 if there is none."""
        if self.months:
            return _SEASONS_OF_MONTHS.get(self.months, 1)
        if self.weekdays:
            return len(self.weekdays)
        return _SEASONS.get(self.size, 1) if isinstance(self.size, timedelta) else 1

    @property
    def name(self) -> str:
        """The size as text: "1 month", "15 minutes", "1 working day", "1 day except Sun"; a number has no unit."""
        if not isinstance(self.size, timedelta):
            return f"{self.size:.4g}"
        size = self.size
        unit, of_unit = next(((unit, each) for unit, each in _UNITS.items() if not size % each), ("second", _SECOND))
        count = self.months or size / of_unit
        unit = "month" if self.months else "working day" if self.weekdays == _WORKING_DAYS else unit
        closed = ", ".join(day for i, day in enumerate(_WEEK) if self.weekdays and i not in self.weekdays)
        return f"{count:g} {unit}{'s' * (count != 1)}" + f" except {closed}" * (unit == "day" and bool(closed))

    def contradicts(self, name: str) -> bool:
        """True if a step called `name` is another one.

        False if one step is a number and the other a duration: the number's unit is unknown.
        """
        is_number = " " not in name
        return bool(name) and name != self.name and is_number == (not isinstance(self.size, timedelta))

    def next(self, time: Time) -> Time:
        """The time one step after `time`."""
        if not isinstance(time, datetime):
            return time + self.size  # type: ignore[operator]
        if self.months:
            day = self.day if time.day == min(self.day, _days(time.year, time.month)) else time.day
            year, month = divmod(12 * time.year + time.month - 1 + self.months, 12)
            return time.replace(year=year, month=month + 1, day=min(day, _days(year, month + 1)))
        time += self.size  # type: ignore[operator]
        while self.weekdays and time.weekday() not in self.weekdays:
            time += _DAY
        return time

    def after(self, last: Time, count: int) -> list[Time]:
        """The `count` times after `last`."""
        times = [_local(last) if self.local else last]
        try:
            for _ in range(count):
                times.append(self.next(times[-1]))
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"the steps after {show(last)} pass the year 9999: expected earlier ones; correct the times"
            ) from error
        return times[1:]

    def extended(self, times: Sequence[Time], count: int) -> tuple[Time, ...]:
        """`times` and the `count` times after them, all without an offset from UTC if the step is local."""
        own = map(_local, times) if self.local else times
        return (*own, *self.after(times[-1], count))


def step_of(times: Sequence[Time], name: str, like: str = "") -> Step | None:
    """The constant step of `times`; None for a single time.

    like   the name of a step, which is preferred if several fit: Monday to Friday may be days or working days

    Of working days and other weekdays, some may be missing, as holidays are. Raises DataError for times that are not
    sorted, double, or have another gap.
    """
    shown = printable(name)
    differences: list[Any] = [b - a for a, b in itertools.pairwise(times)]  # type: ignore[operator]
    if not differences:
        return None
    for a, b in itertools.pairwise(times):
        if b <= a:  # type: ignore[operator]
            by = f"name the columns of times and of series with {param('time')} and {param('id')}"
            got = "twice" if a == b else f"after {show(a)}"
            raise DataError(
                f"{shown} has the time {show(b)} {got}: expected a later one in each row; sort or remove rows, or "
                f"{by}; {_CLOCK_CHANGE}"
            )
    if not isinstance(times[0], datetime):
        least = min(differences)
        if max(differences) - least <= _ROUNDING * least + 4 * math.ulp(max(map(abs, times))):  # type: ignore[arg-type]
            return Step(least)
    candidates = _candidates(times, like)
    if len({time.utcoffset() for time in times if isinstance(time, datetime)}) > 1:
        candidates += [replace(step, local=True) for step in _candidates([_local(time) for time in times], like)]
    odd = [(step, _odd_places(step, times)) for step in sorted(candidates, key=lambda step: step.name != like)]
    step, places = min(odd, key=lambda each: len(each[1]))
    if not places or (step.weekdays and _are_holidays(step, times, places)):
        return step
    a, b = (_local(time) if step.local else time for time in times[places[0] : places[0] + 2])
    is_gap = b > step.next(a)  # type: ignore[operator]
    got, remedy = (
        ("a gap in its times", "add the missing rows, only a few of them with empty cells")
        if is_gap
        else ("unequal steps", "correct them")
    )
    raise DataError(
        f"{shown} has {got} between {show(a)} and {show(b)}: expected steps of {step.name}; {remedy}, or remove "
        f"the column of times; {_CLOCK_CHANGE}"
    )


def step_named(name: str, time: Time) -> Step | None:
    """The step called `name`, see `Step.name`, of a series that has only this time. None for another kind of time."""
    count, _, unit = name.partition(" ")
    number, unit = as_number(count), unit.removesuffix("s")
    if number is None or isinstance(time, datetime) == (not unit):
        return None
    if not isinstance(time, datetime):
        return Step(number)
    if unit == "month":
        return Step(_DAY, months=int(number), day=_days_of_month([time])[0])
    unit, _, closed = unit.partition(" except ")
    size = {**_UNITS, "second": _SECOND, "working day": _DAY}.get(unit)
    days = _WORKING_DAYS if unit == "working day" else frozenset(i for i in range(7) if _WEEK[i] not in closed)
    return Step(number * size, weekdays=days if len(days) < 7 else frozenset()) if size else None


def _are_holidays(step: Step, times: Sequence[Time], places: Sequence[int]) -> bool:
    """Whether the times after `places` are later steps than the next ones, and few are missing in all."""
    missing = 0
    for i in places:
        time, later = times[i : i + 2]
        while time < later and missing <= _MOST_HOLIDAYS * len(times):  # type: ignore[operator]
            time = step.next(time)
            missing += time != later
        if time != later:
            return False
    return missing <= _MOST_HOLIDAYS * len(times)


def _odd_places(step: Step, times: Sequence[Time]) -> list[int]:
    """Indices i for which times[i+1] is not one step after times[i]."""
    clock = [_local(time) for time in times] if step.local else times
    return [i for i, (a, b) in enumerate(itertools.pairwise(clock)) if step.next(a) != b]


def _candidates(times: Sequence[Time], like: str) -> list[Step]:
    """The steps that most of the times could have.   like: see `step_of`"""
    size: Any = _most_common([b - a for a, b in itertools.pairwise(times)])  # type: ignore[operator]
    dates = [time for time in times if isinstance(time, datetime)]
    months = _most_common([12 * (b.year - a.year) + b.month - a.month for a, b in itertools.pairwise(dates)] or [0])
    steps = [Step(size, months=months, day=day) for day in _days_of_month(dates)] if months > 0 else []
    steps.append(Step(size))
    if not dates or any((b - a) % _DAY for a, b in itertools.pairwise(dates)):
        return steps
    seen = frozenset(date.weekday() for date in dates)
    preferred = step_named(like, dates[0])
    open_days = [_WORKING_DAYS] * (size == _DAY) + ([preferred.weekdays] if preferred else [])
    open_days += [seen] * (1 < len(seen) < 7 and dates[-1] - dates[0] >= 7 * _LEAST_WEEKS * _DAY)
    return [*steps, *(Step(_DAY, weekdays=days) for days in open_days if days and seen <= days)]


def _days_of_month(dates: Sequence[datetime]) -> list[int]:
    """The days that monthly dates could have: the last one, or the highest; if a date is wrong, the most common one."""
    if all(date.day == _days(date.year, date.month) for date in dates):
        return [31]
    days = [date.day for date in dates]
    return list(dict.fromkeys([max(days), _most_common(days)]))


def _most_common(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _days(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _local(time: Time) -> Time:
    """`time` without its offset from UTC."""
    return time.replace(tzinfo=None) if isinstance(time, datetime) else time


def show(time: Time) -> str:
    """The text of a time, as in a file. If it has no offset, a time of day of 00:00 is left out."""
    if not isinstance(time, datetime):
        return f"{time:.15g}"
    return time.isoformat(" ").removesuffix(" 00:00:00")
