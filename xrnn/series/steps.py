"""The constant step of a series of times, the season that follows from it, and the times that come next."""

from __future__ import annotations

import itertools
import math
from calendar import monthrange
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cached_property
from typing import Any, Final

import numpy as np

from xrnn.files import printable
from xrnn.series.errors import DataError
from xrnn.series.one_series import Time, check_sizes
from xrnn.series.reading.numbers import as_number
from xrnn.typing import HostArray

_DAY: Final = timedelta(days=1)
_UNITS: Final = {"day": _DAY, "hour": _DAY / 24, "minute": _DAY / 1440, "second": _DAY / 86400}
_SEASONS: Final = {"1 month": 12, "3 months": 4, "7 days": 52, "1 day": 7, "1 minute": 60}
MIDNIGHT: Final = datetime.min.time()
CLOCK_CHANGE: Final = (
    "; if the clock changed there, give times with their offset, as in 2024-03-31 03:00+02:00, or --timezone for a file"
)
_HOUR_LEFT_OUT: Final = (
    "if the clock left this hour out, give --timezone for a file, such as --timezone Europe/Berlin, or times with "
    "their offset"
)
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEKEND: Final = frozenset({5, 6})
LEAST_WEEKS: Final = 3  # in which a weekday is missing, to be closed; Saturday and Sunday may be missing once
MOST_HOLIDAYS: Final = 0.08  # of the open days: 20 a year
_ROUNDING: Final = 1e-6  # numbers are equal steps if they differ by less than this share


@dataclass(frozen=True)
class Step:
    """The time between two rows.

    unit     "month", "day", "hour", "minute", "second"; empty for numbers
    day      of the month; a shorter month has its last day instead
    closed   the weekdays that days leave out, 0 for Monday; empty for other units
    """

    count: float
    unit: str = ""
    day: int = 0
    closed: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """The step as text: "1 month", "15 minutes", "1 working day", "1 day except Sun"; a number has no unit."""
        if not self.unit:
            return f"{self.count:.4g}"
        if self.closed == WEEKEND:
            return "1 working day"
        if self.closed:
            return f"1 day except {weekday_names(self.closed)}"
        return f"{self.count:g} {self.unit}" if self.count == 1 else f"{self.count:g} {self.unit}s"

    @cached_property
    def duration(self) -> timedelta:
        """0 for months and numbers."""
        return self.count * _UNITS.get(self.unit, timedelta())

    @property
    def season(self) -> int:
        """The natural season, in steps: a year, a week, a day or an hour; 1 if there is none."""
        if self.closed:
            return 7 - len(self.closed)
        if timedelta(minutes=5) <= self.duration < _DAY and not _DAY % self.duration:
            return _DAY // self.duration
        return _SEASONS.get(self.name, 1)

    def calendar(self, rows: int) -> str:
        """The calendar of a second, longer season, see `calendar_columns`, for this number of rows.

        Empty if there is no longer season, or if the rows are fewer than two of it.
        """
        if not self.duration or self.duration > _DAY or _DAY % self.duration:
            return ""
        days = rows * self.duration / _DAY * 7 / (7 - len(self.closed))
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
        while self.closed and time.weekday() in self.closed:
            time += _DAY
        return time

    def after(self, last: Time, count: int, zone: tzinfo | None = None) -> list[Time]:
        """The `count` times after `last`, with the offsets that a clock in this zone then has; None: that of `last`."""
        times: list[Time] = [last]
        try:
            for _ in range(count):
                times.append(self.next(times[-1]))
        except (ValueError, OverflowError) as error:
            got = f"the steps after {show(last)} pass the year 9999"
            raise DataError(f"{got}; correct the times") from error
        return times[1:] if zone is None else [on_clock(time, zone) for time in times[1:] if isinstance(time, datetime)]


def on_clock(time: datetime, zone: tzinfo) -> datetime:
    """The time as a clock in this zone shows it, with its offset from UTC."""
    local = time.astimezone(zone)
    return local.replace(tzinfo=timezone(local.utcoffset() or timedelta(0)))


def step_of(times: Sequence[Any], name: str, like: str = "") -> Step | None:
    """The constant step of `times`, which are sorted; None for a single time.

    like   the name of a step, which is preferred if several fit: Monday to Friday may be days or working days. It is
           also the step of a single time

    Of working days and other open days, some may be missing, as holidays are. Raises DataError for other gaps, and for
    numbers beyond 1e30.
    """
    if len(times) < 2:
        return step_named(like, times[0]) if times else None
    if not isinstance(times[0], datetime):
        check_sizes(np.array(times)[:, None], f"the column of times of {name}")
    step, odd = best_step(times, like)
    if not odd:
        return step
    a, b = odd[0]
    got, remedy = "unequal steps", "correct them, or remove the column of times"
    if b > step.next(a):
        got = "a gap in its times"
        remedy = "add a row with an empty cell for each missing time, or remove the column of times"
    if isinstance(b, datetime) and (a.time() != MIDNIGHT or b.time() != MIDNIGHT):
        is_hour = b.tzinfo is None and b - step.next(a) == _UNITS["hour"]
        remedy = f"{_HOUR_LEFT_OUT}; otherwise {remedy}" if is_hour else remedy + CLOCK_CHANGE
    raise DataError(
        f"{printable(name)} has {got} between {show(a)} and {show(b)}, but steps of {step.name} elsewhere; {remedy}"
    )


def open_days(closed: frozenset[int]) -> Step:
    """The step of days without these weekdays."""
    return Step(1, "day", closed=closed)


def step_named(name: str, time: Time) -> Step | None:
    """The step called `name`, see `Step.name`, of a series with this time. None for another kind of time."""
    if name == "1 working day" or name.startswith("1 day except "):
        days = {day for day, text in enumerate(_WEEKDAYS) if text in name} or WEEKEND
        return open_days(frozenset(days)) if isinstance(time, datetime) else None
    number, _, unit = name.partition(" ")
    count = as_number(number)
    unit = unit.removesuffix("s")
    units, day = (("month", *_UNITS), _day_of_month([time])) if isinstance(time, datetime) else (("",), 0)
    return Step(count, unit, day) if count is not None and unit in units else None


def best_step(times: Sequence[Any], like: str = "") -> tuple[Step, list[tuple[Any, Any]]]:
    """The step that fits most neighbours, and those that it does not fit.   like: chosen if several fit as many"""
    steps = [(step, _odd_neighbours(step, times)) for step in _candidates(times, like)]
    return min(steps, key=lambda each: (len(each[1]), each[0].name != like))


def _odd_neighbours(step: Step, times: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The neighbours (a, b) for which b is not one step after a. There are none if only some holidays are missing."""
    closed = step.closed
    if closed and all(time.weekday() not in closed and time.time() == times[0].time() for time in times):
        is_open = [day not in closed for day in range(7)]
        missing = np.busday_count(times[0].date(), times[-1].date(), is_open) + 1 - len(times)
        if missing <= MOST_HOLIDAYS * len(times):
            return []
    tolerance = timedelta() if step.unit else _ROUNDING * step.count + 4 * math.ulp(max(map(abs, times)))
    pairs = itertools.pairwise(times)
    return [(a, b) for a, b in pairs if abs(step.after(a, 1)[0] - b) > tolerance or (closed and a.weekday() in closed)]


def _candidates(times: Sequence[Any], like: str) -> list[Step]:
    """The steps that most of the times could have.   like: see `step_of`"""
    pairs = [*itertools.pairwise(times)]
    differences = [b - a for a, b in pairs]
    if not isinstance(times[0], datetime):
        return [Step(min(differences)), Step(float(np.median(differences)))]
    in_months = [12 * (b.year - a.year) + b.month - a.month for a, b in pairs]
    size, months = (Counter(each).most_common(1)[0][0] for each in (differences, in_months))
    unit = next((unit for unit, each in _UNITS.items() if not size % each), "second")
    steps = [Step(size / _UNITS[unit], unit), *map(open_days, _closed_days(times, like))]
    return [Step(months, "month", _day_of_month(times)), *steps] if months > 0 else steps


def _closed_days(dates: Sequence[Any], like: str) -> list[frozenset[int]]:
    """The sets of weekdays that may be closed: the weekend, those of the step `like`, and those without any date."""
    found = [WEEKEND]
    if (preferred := step_named(like, dates[0])) and preferred.closed:
        found.append(preferred.closed)
    missing = frozenset(range(7)) - {date.weekday() for date in dates}
    if 0 < len(missing) < 6 and dates[-1] - dates[0] >= 7 * LEAST_WEEKS * _DAY:
        found.append(missing)
    return found


def weekday_names(days: Collection[int]) -> str:
    """ "Sat, Sun" """
    return ", ".join(_WEEKDAYS[day] for day in sorted(days))


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
