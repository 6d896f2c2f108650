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
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.checks import DataError, Time, as_number, param
from xrnn.typing import HostArray

# `iso_time` reads dates such as 2024-05-31, but not 2024-5-31. `_plain` writes the names of months.
_IN_NUMBERS: Final = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%Y/%m", "%m/%Y", "%YM%m")
_WITH_NAMES: Final = ("%d %b %Y", "%d %b %y", "%b %d %Y", "%Y %b", "%b %Y", "%b %y")
_SEVERAL_ORDERS: Final = (  # a day above 12, or equal steps, show which one is meant
    ("%m/%d/%Y", "%d/%m/%Y"),
    ("%m-%d-%Y", "%d-%m-%Y"),
    ("%m/%d/%y", "%d/%m/%y", "%y/%m/%d"),
    ("%m-%d-%y", "%d-%m-%y", "%y-%m-%d"),
    ("%d.%m.%y", "%y.%m.%d"),
)
_CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_ANY_ORDER: Final = ("%y%m%d", "%d%m%y", "%m%d%y", "%d%m%Y", "%m%d%Y")  # of digits, which may also be numbers
_DIGITS: Final = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_MONTH: Final = (
    "(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
    "|dec(ember)?)"
)
_MONTH_NAME: Final = re.compile(rf"(?<![^\W\d_]){_MONTH}(?![^\W\d_])\.?", re.IGNORECASE)
_LIKE_A_DATE: Final = re.compile(  # 31/05/24, 2024_05_31, 2024Q3, KW 05-2024, 31 May
    r"([^\W\d_]{1,9}[.,]? )?(\d{1,2}(?P<separator>[/.-] ?)\d{1,2}(?P=separator)\d\d(\d\d)?(\D|$)|"
    r"(1[5-9]|20)\d\d([-/._ ][QW]?|[MQ])\d{1,3}(\D|$)|\d{1,2}[-/._ ](19|20)\d\d(\D|$))|"
    rf"(?=.*\d)(.*[\W\d_])?{_MONTH}([\W\d_]|$)",
    re.IGNORECASE,
)
_REMEDY: Final = "write the dates as in 2024-05-31 12:00"
_CLOCK_CHANGE: Final = "if the clock changed there, give times with their offset, as in 2024-03-31 03:00+02:00"
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_UNITS: Final = {"day": _DAY, "hour": timedelta(hours=1), "minute": _MINUTE, "second": _SECOND}
_MOST_HOLIDAYS: Final = 0.08  # of the working days: 20 a year
_ROUNDING: Final = 1e-6  # numbers are equal steps if they differ by less than this share


def read_times(cells: Sequence[str], where: Callable[[int], str]) -> list[Time]:
    """The time in each cell. Dates at one time of day, whose offsets from UTC change, lose their offset.

    where   the start of an error about cells[i]: the file and the line

    Dates such as 3/4/2024 and 3/4/24 are read in the order of day, month and year that fits all cells; if several fit,
    in the one that gives equal steps, see `step_of`. Raises DataError if none or several of them give equal steps, and
    for cells that are neither all numbers nor all dates in one form.
    """
    every, cells = cells, [*dict.fromkeys(cells)]  # many series may have the same times
    plain = [*map(_plain, cells)]
    if _may_be_days(plain) or _may_be_dates(plain):
        raise DataError(
            f"{where(0)}: {quoted(cells[0])!r} may be a day, a month or a number: expected dates with one reading; "
            f"{_REMEDY}"
        )
    most = 0
    for readers in _READERS:
        found = [list(itertools.takewhile(lambda time: time is not None, map(read, plain))) for read in readers]
        complete: list[list[Any]] = [times for times in found if len(times) == len(cells)]
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
            times = dict(zip(cells, _local(complete[0]), strict=True))
            return [times[cell] for cell in every]
        most = max(most, *map(len, found))
    odd = cells[most]
    raise DataError(
        f"{where(every.index(odd))}: {quoted(odd)!r} is not a time like the others: expected all numbers or all dates "
        f"in one form; {_REMEDY}, or remove the row"
    )


def hold_dates(cells: Sequence[str]) -> bool:
    """True for a column of dates: at least half of the cells resemble dates.

    Numbers are dates only if all cells are, as in 20240531.
    """
    if as_number(cells[0]) is not None:
        return len(cells[0]) > 6 and all(map(_digits, cells))  # values may well be like 202405
    return 2 * sum(as_number(cell) is None and bool(_LIKE_A_DATE.match(cell)) for cell in cells) >= len(cells)


def _plain(cell: str) -> str:
    """A date without commas, with the short name of its month: 1-July-2024 → 1 Jul 2024; 2024 Q3 → 2024-07."""
    cell = re.sub(r"^(\d{4})[ -]?Q([1-4])$", lambda part: f"{part[1]}-{3 * int(part[2]) - 2:02}", cell)
    cell = re.sub(r"(?<=\d)(?=[ap]m$)", " ", cell.replace(",", " "), flags=re.IGNORECASE)
    named = _MONTH_NAME.sub(lambda name: f" {name[1][:3]} ", cell)
    return cell if named == cell else re.sub("[- ]+", " ", named).strip()


def _may_be_days(plain: Sequence[str]) -> bool:
    """True for neighbours such as Jan 01, Jan 02: days without a year, or the same month of several years."""
    if not all(re.fullmatch(r"[a-z]{3} (0[1-9]|[12]\d|3[01])", cell, re.IGNORECASE) for cell in plain):
        return False
    return any(a[:3].lower() == b[:3].lower() and a[-2:] != b[-2:] for a, b in itertools.pairwise(plain))


def _may_be_dates(cells: Sequence[str]) -> bool:
    """True for digits such as 240531 or 31052024, also without the first 0: as numbers, they have another order."""
    cells = [cell.zfill(8) if len(cell) == 7 else cell for cell in cells]
    return not all(map(_digits, cells)) and any(
        all(cell.isdecimal() and len(cell) == 6 + 2 * ("Y" in form) and _parsed(form, cell) for cell in cells)
        for form in _ANY_ORDER
    )


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


def _iso(has_offset: bool, cell: str) -> datetime | None:
    time = iso_time(cell)
    return time if time and (time.tzinfo is not None) == has_offset else None


def _have_a_step(times: Sequence[Time]) -> bool:
    """Whether the distinct dates, once sorted, have a constant step."""
    try:
        return step_of(sorted(set(times)), "") is not None
    except DataError:
        return False


def _local(times: Sequence[Any]) -> Sequence[Any]:
    """Dates at one time of day without their offsets, if these change: a day later is the same time of day."""
    clocks = {(time.utcoffset(), time.time()) for time in times if isinstance(time, datetime)}
    is_local = len(clocks) > 1 and len({clock for _, clock in clocks}) == 1
    return [time.replace(tzinfo=None) for time in times] if is_local else times


def _digits(cell: str) -> datetime | None:
    form = _DIGITS.get(len(cell)) if cell.isascii() and cell.isdecimal() else None
    return _parsed(form, cell) if form and "1900" <= cell[:4] < "2100" else None


def _parsed(form: str, cell: str) -> datetime | None:
    try:
        return datetime.strptime(cell, form)
    except ValueError:
        return None


# In the order in which they are tried; the readers of a row read the same text in several orders.
_READERS: Final[tuple[tuple[Callable[[str], Time | None], ...], ...]] = (
    *((read,) for read in (_digits, as_number, partial(_iso, True), partial(_iso, False))),
    *(
        tuple(partial(_parsed, form + clock) for form in forms)
        for forms in (*zip(_IN_NUMBERS + _WITH_NAMES), *_SEVERAL_ORDERS)
        for clock in _CLOCKS
    ),
)


# ---- the step of a series, the season that follows from it, and the times that come next ----


@dataclass(frozen=True, slots=True)
class Step:
    """The time between two steps: a number, a duration, months, or a working day.

    day       of the month, if the step is in months; a shorter month has its last day instead
    working   True for Monday to Friday
    """

    size: float | timedelta
    months: int = 0
    day: int = 0
    working: bool = False

    @property
    def season(self) -> int:
        """The natural season, in steps: a year, a week, a day or an hour; 1 if there is none."""
        size = self.size
        if self.months or not isinstance(size, timedelta):
            return {1: 12, 3: 4}.get(self.months, 1)
        if size < _DAY and size >= 5 * _MINUTE:
            return 1 if _DAY % size else _DAY // size
        return 5 if self.working else {_MINUTE: 60, _DAY: 7, 7 * _DAY: 52}.get(size, 1)

    def calendar(self, rows: int) -> str:
        """The calendar of a second, longer season, see `calendar_columns`, for this number of rows.

        Empty if there is no longer season, or if the rows are fewer than two of it.
        """
        size = self.size
        if not isinstance(size, timedelta) or size > _DAY or _DAY % size:
            return ""
        days = rows * size / _DAY * (7 / 5 if self.working else 1)
        calendar, length = ("year", 365.25) if size == _DAY else ("week", 7.0)
        return calendar if days >= 2 * length else ""

    @property
    def name(self) -> str:
        """The size as text: "1 month", "15 minutes", "1 working day"; a number has no unit."""
        if not isinstance(self.size, timedelta):
            return f"{self.size:.4g}"
        size = self.size
        unit = next((unit for unit, each in _UNITS.items() if not size % each), "second")
        count = self.months or size / _UNITS[unit]
        unit = "month" if self.months else "working day" if self.working else unit
        return f"{count:g} {unit}{'s' * (count != 1)}"

    def next(self, time: Time) -> Time:
        """The time one step after `time`."""
        if not isinstance(time, datetime):
            return time + self.size  # type: ignore[operator]
        if self.months:
            day = self.day if time.day == min(self.day, _days(time.year, time.month)) else time.day
            year, month = divmod(12 * time.year + time.month - 1 + self.months, 12)
            return time.replace(year=year, month=month + 1, day=min(day, _days(year, month + 1)))
        time += self.size  # type: ignore[operator]
        while self.working and time.weekday() > 4:
            time += _DAY
        return time

    def after(self, last: Time, count: int) -> list[Time]:
        """The `count` times after `last`."""
        times = [last]
        try:
            for _ in range(count):
                times.append(self.next(times[-1]))
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"the steps after {show(last)} pass the year 9999: expected earlier ones; correct the times"
            ) from error
        return times[1:]


def step_of(times: Sequence[Time], name: str, like: str = "") -> Step | None:
    """The constant step of `times`; None for a single time.

    like   the name of a step, which is preferred if several fit: Monday to Friday may be days or working days. It is
           also the step of a single time

    Some working days may be missing, as holidays are. Raises DataError for unsorted and equal times, and for other
    gaps.
    """
    shown, expected = printable(name), _step_named(like, times[0]) if times else None
    differences: list[Any] = [b - a for a, b in itertools.pairwise(times)]  # type: ignore[operator]
    if not differences:
        return expected
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
    candidates = [*([expected] if expected else []), *_candidates(times, differences)]
    odd = [(step, _odd_places(step, times)) for step in candidates]
    step, places = min(odd, key=lambda each: len(each[1]))
    if not places or (step.working and 0 <= _missing_days(times) <= _MOST_HOLIDAYS * len(times)):
        return step
    a, b = times[places[0] : places[0] + 2]
    is_gap = b > step.next(a)  # type: ignore[operator]
    got, remedy = (
        ("a gap in its times", "add the missing rows, of which a few may have empty cells")
        if is_gap
        else ("unequal steps", "correct them")
    )
    raise DataError(
        f"{shown} has {got} between {show(a)} and {show(b)}: expected steps of {step.name}; {remedy}, or remove "
        f"the column of times; {_CLOCK_CHANGE}"
    )


def _step_named(name: str, time: Time) -> Step | None:
    """The step called `name`, see `Step.name`, of a series with this time. None for another kind of time."""
    count, _, unit = name.partition(" ")
    number, unit = as_number(count), unit.removesuffix("s")
    if number is None or isinstance(time, datetime) == (not unit):
        return None
    if not isinstance(time, datetime):
        return Step(number)
    if unit == "month":
        return Step(_DAY, int(number), _day_of_month([time]))
    size = _UNITS.get(unit.removeprefix("working "))
    return Step(number * size, working=unit == "working day") if size else None


def _missing_days(times: Sequence[Any]) -> int:
    """The number of working days that are missing; -1 if a time is on a weekend."""
    if any(time.weekday() > 4 for time in times):
        return -1
    return int(np.busday_count(times[0].date(), times[-1].date())) + 1 - len(times)


def _odd_places(step: Step, times: Sequence[Time]) -> list[int]:
    """Indices i for which times[i+1] is not one step after times[i]."""
    return [i for i, (a, b) in enumerate(itertools.pairwise(times)) if step.next(a) != b]


def _candidates(times: Sequence[Time], differences: Sequence[Any]) -> list[Step]:
    """The steps that most of the times could have."""
    size, dates = _most_common(differences), [time for time in times if isinstance(time, datetime)]
    if not dates:
        return [Step(size)]
    months = _most_common([12 * (b.year - a.year) + b.month - a.month for a, b in itertools.pairwise(dates)])
    steps = [Step(size, months, _day_of_month(dates))] if months > 0 else []
    is_working = all(date.weekday() < 5 for date in dates) and not any(each % _DAY for each in differences)
    return [*steps, Step(size), *([Step(_DAY, working=True)] if is_working and size == _DAY else [])]


def _day_of_month(dates: Sequence[datetime]) -> int:
    """The day of monthly dates: the last one of the month, or the highest."""
    is_last = all(date.day == _days(date.year, date.month) for date in dates)
    return 31 if is_last else max(date.day for date in dates)


def _most_common(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _days(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def show(time: Time) -> str:
    """The text of a time, as in a file. If it has no offset, a time of day of 00:00 is left out."""
    if not isinstance(time, datetime):
        return f"{time:.15g}"
    return time.isoformat(" ").removesuffix(" 00:00:00")


def calendar_columns(calendar: str, times: Sequence[Time], known: HostArray) -> HostArray:
    """The columns (T, n) of a calendar at times (T,), which are dates. A model uses them like known columns (T, K).

    They describe a second, longer season: the week for hours, whose first season is the day, and the year for days.

    week   whether it is Tuesday, …, Sunday; on weekends also cos and sin of 2πk · hour / 24, k = 1, 2; and the same
           waves times each known column: a holiday has other hours than a working day
    year   cos and sin of 2πk · day of the year / 365.25, k = 1, 2, 3
    """
    local = np.array([each.replace(tzinfo=None) for each in times if isinstance(each, datetime)], "datetime64[s]")
    days = local.astype("datetime64[D]")
    if calendar == "year":
        return _waves((days - days.astype("datetime64[Y]")) / np.timedelta64(1, "D") / 365.25, 3)
    weekday = (days.astype(int) + 3) % 7  # 1970-01-01 was a Thursday
    hours = (local - days) / np.timedelta64(1, "h")
    is_day = weekday[:, None] == np.arange(1, 7)
    waves = _waves(hours / 24, 2)
    of_known = (known[..., None] * waves[:, None]).reshape(len(waves), -1)
    return np.concatenate([is_day, (weekday > 4)[:, None] * waves, of_known], axis=1)


def _waves(phase: HostArray, count: int) -> HostArray:
    """cos and sin of 2πk · phase for k = 1, …, count: (T, 2 count)."""
    angles = 2 * np.pi * phase[:, None] * np.arange(1, count + 1)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
