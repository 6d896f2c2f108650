"""Times: reading a column of text, which holds numbers or dates in one form; the step of a series, and later times."""

from __future__ import annotations

import itertools
import math
import re
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any, Final, TypeAlias

import numpy as np

from xrnn.files import printable, quoted
from xrnn.series.errors import DataError
from xrnn.series.one_series import Time, check_sizes
from xrnn.series.reading.numbers import as_number
from xrnn.typing import HostArray

# The forms in a row can read one text, in different orders: a day above 12, or equal steps, decides. `iso_time` reads
# dates such as 2024-05-31, but not 2024-5-31. `_plain` writes the names of months.
_FORMS: Final = (
    ("%Y-%m-%d",),
    ("%Y/%m/%d",),
    ("%Y.%m.%d",),
    ("%d.%m.%Y",),
    ("%d %b %Y",),
    ("%b %d %Y",),
    ("%m/%d/%Y", "%d/%m/%Y"),
    ("%m-%d-%Y", "%d-%m-%Y"),
    ("%m/%d/%y", "%d/%m/%y", "%y/%m/%d"),
    ("%m-%d-%y", "%d-%m-%y", "%y-%m-%d"),
    ("%d.%m.%y", "%y.%m.%d"),
)
_MONTHS: Final = ("%Y/%m", "%m/%Y", "%YM%m", "%Y %b", "%b %Y", "%b %y")  # a month has no time of day
_CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_DIGITS: Final = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DATES_OR_NUMBERS: Final = {6: ("%y%m%d", "%d%m%y", "%m%d%y"), 8: ("%d%m%Y", "%m%d%Y")}  # by the number of digits
_MONTH: Final = re.compile(
    r"(?<![^\W\d_])(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|"
    r"nov(ember)?|dec(ember)?)(?![^\W\d_])\.?",
    re.IGNORECASE,
)
_LIKE_A_DATE: Final = re.compile(  # 31/05/24, 2024_05_31, 2024Q3, KW 05-2024, 31 May
    r"([^\W\d_]{1,9}[.,]? )?(\d{1,2}(?P<separator>[/.-] ?)\d{1,2}(?P=separator)\d\d(\d\d)?|"
    r"(1[5-9]|20)\d\d([-/._ ][QW]?|[MQ])\d{1,3}|\d{1,2}[-/._ ](19|20)\d\d)(\D|$)|"
    rf"(?=.*\d).*{_MONTH.pattern}",
    re.IGNORECASE,
)


def read_times(cells: Sequence[str], where: Callable[[int], str]) -> list[Time]:
    """The time in each cell. If all have one time of day but offsets from UTC that change, the offsets are dropped.

    where   the start of an error about cells[i]: the file and the line

    Dates such as 3/4/2024 and 3/4/24 are read in the order of day, month and year that fits all cells; if several fit,
    in the one that gives equal steps. Raises DataError if not exactly one of these does, and for cells that are neither
    all numbers nor all dates in one form.
    """

    def error(cell: str, got: str, other: str = "") -> DataError:
        remedy = f"write the dates as in 2024-05-31 12:00{other}"
        return DataError(f"{where(cells.index(cell))}: {quoted(cell)!r} {got}; {remedy}")

    plain = {cell: _plain(cell) for cell in dict.fromkeys(cells)}  # many series may have the same times
    if _are_ambiguous([*plain.values()]):
        raise error(cells[0], "may be a day, a month or a number: expected dates with one reading")
    most = 0  # cells that a reader can read, before the first one that it can't
    for readers in _READERS:
        readings: list[Sequence[Time]] = []
        for read in readers:
            times = _read_all(read, [*plain.values()])
            most = max(most, len(times))
            if len(times) == len(plain) and times not in readings:
                readings.append(times)
        if not readings:
            continue
        chosen = _chosen(readings, prefers_first=readers in _DAY_MONTH_YEAR)
        if chosen is None:
            i = next(i for i in range(len(plain)) if len({times[i] for times in readings}) > 1)
            found = dict.fromkeys(show(times[i]) for times in readings)
            got = f"may be {' or '.join(found)}, and no other row tells which"
            raise error([*plain][i], f"{got}: expected dates with one reading")
        by_cell = dict(zip(plain, _local(chosen), strict=True))
        return [by_cell[cell] for cell in cells]
    got = "is not a time like the others: expected all numbers or all dates in one form"
    raise error([*plain][most], got, ", or remove the row")


def _read_all(read: Callable[[str], Time | None], cells: Sequence[str]) -> list[Time]:
    """The times in the cells up to the first one that `read` can't read."""
    times = []
    for cell in cells:
        time = read(cell)
        if time is None:
            break
        times.append(time)
    return times


def _chosen(readings: Sequence[Sequence[Any]], *, prefers_first: bool) -> Sequence[Any] | None:
    """The only reading, or the only one with equal steps. None if several remain.

    prefers_first   the first reading is the usual one: it is taken unless another brings the dates closer together
    """
    if len(readings) == 1:
        return readings[0]
    equal = [times for times in readings if _have_a_step(times)]
    if len(equal) == 1:
        return equal[0]
    spans = [max(times) - min(times) for times in readings]
    return readings[0] if prefers_first and spans[0] == min(spans) else None


def hold_dates(cells: Sequence[str]) -> bool:
    """True for a column of dates: at least half of the cells resemble dates, or all are numbers such as 20240531."""
    if as_number(cells[0]) is not None:
        return len(cells[0]) > 6 and all(map(_digits, cells))  # values may well be like 202405
    return 2 * sum(as_number(cell) is None and bool(_LIKE_A_DATE.match(cell)) for cell in cells) >= len(cells)


def _plain(cell: str) -> str:
    """A date without commas, with the short name of its month: 1-July-2024 → 1 Jul 2024; 2024 Q3 → 2024-07."""
    cell = re.sub(r"^(\d{4})[ -]?Q([1-4])$", lambda part: f"{part[1]}-{3 * int(part[2]) - 2:02}", cell)
    cell = re.sub(r"(?<=\d)(?=[ap]m$)", " ", cell.replace(",", " "), flags=re.IGNORECASE)
    named = _MONTH.sub(lambda name: f" {name[1][:3]} ", cell)
    return cell if named == cell else re.sub("[- ]+", " ", named).strip()


def _are_ambiguous(cells: Sequence[str]) -> bool:
    """Whether the cells may be dates, or something else that has another order.

    Jan 01 may be a day, or January 2001: the cells are months if they ascend and neighbours are different months, or if
    they are all months or quarters of some years. 240531 or 31052024, also without the first 0, may be a number.
    """
    months: list[Any] = [_parsed("%b %y", cell) for cell in cells if re.fullmatch(r"\w{3} ([012]\d|3[01])", cell)]
    if len(months) == len(cells) and None not in months:
        if len({month.year for month in months}) > 1:
            step, odd = _best_step(sorted(months))
            if step.season > 1 and not odd:
                return False
        return any(a >= b or a.month == b.month for a, b in itertools.pairwise(months))
    cells = [cell.zfill(8) if len(cell) == 7 else cell for cell in cells]
    if all(map(_digits, cells)):
        return False
    for length, forms in _DATES_OR_NUMBERS.items():
        if all(cell.isdecimal() and len(cell) == length for cell in cells):
            return any(all(_parsed(form, cell) for cell in cells) for form in forms)
    return False


def iso_time(cell: str, has_offset: bool | None = None) -> datetime | None:
    """The time in an ISO date or time stamp, which may lack the day, as in 2024-05.   has_offset: None for both kinds

    None for other text, and for a time with nanoseconds, which a datetime does not hold.
    """
    if re.search(r"\.\d{6}0*[1-9]", cell):
        return None
    cell = f"{cell}-01" if re.fullmatch(r"\d{4}-\d{2}", cell) else re.sub(" UTC$", "+00:00", cell)
    time = _parsed("", cell) if re.match(r"\d{4}-", cell) else None
    return time if time and has_offset in (None, time.tzinfo is not None) else None


def _have_a_step(times: Iterable[Any]) -> bool:
    """Whether the distinct dates, once sorted, have a constant step."""
    distinct = sorted({*times})
    return len(distinct) > 1 and not _best_step(distinct)[1]


def _local(times: Sequence[Any]) -> Sequence[Any]:
    """The times without their offsets, if these change but not the local time of day: days across a clock change."""
    clocks = {(time.utcoffset(), time.time()) for time in times if isinstance(time, datetime)}
    is_local = len(clocks) > 1 and len({clock for _, clock in clocks}) == 1
    return [time.replace(tzinfo=None) for time in times] if is_local else times


def _digits(cell: str) -> datetime | None:
    form = _DIGITS.get(len(cell)) if cell.isascii() and cell.isdecimal() else None
    return _parsed(form, cell) if form and "1900" <= cell[:4] < "2100" else None


def _parsed(form: str, cell: str) -> datetime | None:
    """The time in this form, in an ISO form if it is empty. None for other text."""
    try:
        return datetime.strptime(cell, form) if form else datetime.fromisoformat(cell)
    except ValueError:
        return None


_Readers: TypeAlias = tuple[Callable[[str], Time | None], ...]
# 31-Jan-24, which is far more usual than 24-Jan-31
_DAY_MONTH_YEAR: Final[list[_Readers]] = [
    tuple(partial(_parsed, form + clock) for form in ("%d %b %y", "%y %b %d")) for clock in _CLOCKS
]
# In the order in which they are tried; the readers of a row read the same text in several orders.
_READERS: Final[tuple[_Readers, ...]] = (
    (_digits,),
    (as_number,),
    (partial(iso_time, has_offset=True), partial(iso_time, has_offset=False)),
    *((partial(_parsed, form),) for form in _MONTHS),
    *_DAY_MONTH_YEAR,
    *(tuple(partial(_parsed, form + clock) for form in forms) for forms in _FORMS for clock in _CLOCKS),
)


# ---- the step of a series, the season that follows from it, and the times that come next ----

_DAY: Final = timedelta(days=1)
_UNITS: Final = {"day": _DAY, "hour": _DAY / 24, "minute": _DAY / 1440, "second": _DAY / 86400, "working day": _DAY}
_SEASONS: Final = {"1 month": 12, "3 months": 4, "7 days": 52, "1 day": 7, "1 working day": 5, "1 minute": 60}
CLOCK_CHANGE: Final = "; if the clock changed there, give times with their offset, as in 2024-03-31 03:00+02:00"
_MOST_HOLIDAYS: Final = 0.08  # of the working days: 20 a year
_ROUNDING: Final = 1e-6  # numbers are equal steps if they differ by less than this share


@dataclass(frozen=True)
class Step:
    """The time between two rows.

    unit   "month", "working day" (Monday to Friday), "day", "hour", "minute", "second"; empty for numbers
    day    of the month; a shorter month has its last day instead
    """

    count: float
    unit: str = ""
    day: int = 0

    @property
    def name(self) -> str:
        """The step as text: "1 month", "15 minutes", "1 working day"; a number has no unit."""
        return f"{self.count:g} {self.unit}{'s' * (self.count != 1)}" if self.unit else f"{self.count:.4g}"

    @cached_property
    def duration(self) -> timedelta:
        """0 for months and numbers."""
        return self.count * _UNITS.get(self.unit, timedelta())

    @property
    def season(self) -> int:
        """The natural season, in steps: a year, a week, a day or an hour; 1 if there is none."""
        if timedelta(minutes=5) <= self.duration < _DAY and not _DAY % self.duration:
            return _DAY // self.duration
        return _SEASONS.get(self.name, 1)

    def calendar(self, rows: int) -> str:
        """The calendar of a second, longer season, see `calendar_columns`, for this number of rows.

        Empty if there is no longer season, or if the rows are fewer than two of it.
        """
        if not self.duration or self.duration > _DAY or _DAY % self.duration:
            return ""
        days = rows * self.duration / _DAY * (7 / 5 if self.unit == "working day" else 1)
        calendar, length = ("year", 365.25) if self.duration == _DAY else ("week", 7.0)
        return calendar if days >= 2 * length else ""

    def next(self, time: Any) -> Any:
        """The time one step after `time`."""
        if not self.unit:
            return time + self.count
        if self.unit == "month":
            day = self.day if time.day == min(self.day, monthrange(time.year, time.month)[1]) else time.day
            year, month = divmod(12 * time.year + time.month - 1 + int(self.count), 12)
            return time.replace(year=year, month=month + 1, day=min(day, monthrange(year, month + 1)[1]))
        time += self.duration
        while self.unit == "working day" and time.weekday() > 4:
            time += _DAY
        return time

    def after(self, last: Time, count: int) -> list[Time]:
        """The `count` times after `last`."""
        times = [last]
        try:
            for _ in range(count):
                times.append(self.next(times[-1]))
        except (ValueError, OverflowError) as error:
            got = f"the steps after {show(last)} pass the year 9999"
            raise DataError(f"{got}: expected earlier ones; correct the times") from error
        return times[1:]


def step_of(times: Sequence[Any], name: str, like: str = "") -> Step | None:
    """The constant step of `times`, which are sorted; None for a single time.

    like   the name of a step, which is preferred if several fit: Monday to Friday may be days or working days. It is
           also the step of a single time

    Some working days may be missing, as holidays are. Raises DataError for other gaps, and for numbers beyond 1e30.
    """
    if len(times) < 2:
        return _step_named(like, times[0]) if times else None
    if not isinstance(times[0], datetime):
        check_sizes(np.array(times)[:, None], f"the column of times of {name}")
    step, odd = _best_step(times, like)
    if not odd:
        return step
    a, b = odd[0]
    got, remedy = "unequal steps", "correct them"
    if b > step.next(a):
        got, remedy = "a gap in its times", "add the missing rows, of which a few may have empty cells"
    raise DataError(
        f"{printable(name)} has {got} between {show(a)} and {show(b)}: expected steps of {step.name}; {remedy}, or "
        f"remove the column of times{CLOCK_CHANGE * isinstance(b, datetime)}"
    )


def _step_named(name: str, time: Time) -> Step | None:
    """The step called `name`, see `Step.name`, of a series with this time. None for another kind of time."""
    number, _, unit = name.partition(" ")
    count, unit = as_number(number), unit.removesuffix("s")
    units, day = (("month", *_UNITS), _day_of_month([time])) if isinstance(time, datetime) else (("",), 0)
    return Step(count, unit, day) if count is not None and unit in units else None


def _best_step(times: Sequence[Any], like: str = "") -> tuple[Step, list[tuple[Any, Any]]]:
    """The step that fits most neighbours, and those that it does not fit.   like: chosen if several fit as many"""
    steps = [(step, _odd_neighbours(step, times)) for step in _candidates(times)]
    return min(steps, key=lambda each: (len(each[1]), each[0].name != like))


def _odd_neighbours(step: Step, times: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The neighbours (a, b) for which b is not one step after a. There are none if only some holidays are missing."""
    is_working = step.unit == "working day"
    if is_working and all(time.weekday() < 5 and time.time() == times[0].time() for time in times):
        missing = np.busday_count(times[0].date(), times[-1].date()) + 1 - len(times)
        if missing <= _MOST_HOLIDAYS * len(times):
            return []
    tolerance = timedelta() if step.unit else _ROUNDING * step.count + 4 * math.ulp(max(map(abs, times)))
    pairs = itertools.pairwise(times)
    return [(a, b) for a, b in pairs if abs(step.after(a, 1)[0] - b) > tolerance or (is_working and a.weekday() > 4)]


def _candidates(times: Sequence[Any]) -> list[Step]:
    """The steps that most of the times could have."""
    pairs = [*itertools.pairwise(times)]
    differences = [b - a for a, b in pairs]
    if not isinstance(times[0], datetime):
        return [Step(min(differences)), Step(float(np.median(differences)))]
    in_months = [12 * (b.year - a.year) + b.month - a.month for a, b in pairs]
    size, months = (Counter(each).most_common(1)[0][0] for each in (differences, in_months))
    unit = next((unit for unit, each in _UNITS.items() if not size % each), "second")
    steps = [Step(size / _UNITS[unit], unit), Step(1, "working day")]
    return [Step(months, "month", _day_of_month(times)), *steps] if months > 0 else steps


def _day_of_month(dates: Sequence[Any]) -> int:
    """The day of monthly dates: the last one of the month, or the highest."""
    is_last = all(date.day == monthrange(date.year, date.month)[1] for date in dates)
    return 31 if is_last else max(date.day for date in dates)


def show(time: Time) -> str:
    """The text of a time, as in a file. If it has no offset, a time of day of 00:00 is left out."""
    if not isinstance(time, datetime):
        return f"{time:.15g}"
    return time.isoformat(" ").removesuffix(" 00:00:00")


def calendar_columns(calendar: str, times: Sequence[Time], known: HostArray) -> HostArray:
    """The columns (T, n) of a calendar at times (T,), which are dates. A model uses them like known columns (T, K).

    They describe a second, longer season than `Step.season`: the week for hours, and the year for days.

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
