"""The times of a series: its step, the season that follows from it, and the times that come next."""

from __future__ import annotations

import calendar
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from xrnn.files import printable
from xrnn.jobs.errors import DataError
from xrnn.jobs.series.series import Time

_DAY: Final = timedelta(days=1)
_SEASONS: Final = {  # the natural season of a step
    timedelta(minutes=1): 60,
    timedelta(minutes=15): 96,
    timedelta(minutes=30): 48,
    timedelta(hours=1): 24,
    _DAY: 7,
    7 * _DAY: 52,
}
_SEASONS_OF_MONTHS: Final = {1: 12, 3: 4}


@dataclass(frozen=True, slots=True)
class Step:
    """The time between two steps: a number, a duration, months, or working days."""

    size: float | timedelta
    months: int = 0
    working_days: bool = False

    @property
    def season(self) -> int:
        """The natural season, in steps; 1 if there is none."""
        if self.months:
            return _SEASONS_OF_MONTHS.get(self.months, 1)
        if self.working_days:
            return 5
        return _SEASONS.get(self.size, 1) if isinstance(self.size, timedelta) else 1

    def after(self, last: Time, count: int) -> list[Time]:
        """The `count` times after `last`."""
        if isinstance(last, datetime) and self.months:
            return [_add_months(last, self.months * i) for i in range(1, count + 1)]
        times: list[Time] = []
        while len(times) < count:
            last = last + self.size  # type: ignore[operator]
            if not (self.working_days and isinstance(last, datetime) and last.weekday() > 4):
                times.append(last)
        return times


def step_of(times: Sequence[Time], name: str) -> Step | None:
    """The constant step of `times`; None for a single time.

    Raises DataError for times that are not sorted, double, or have a gap.
    """
    shown = printable(name)
    differences: list[Any] = [b - a for a, b in itertools.pairwise(times)]  # type: ignore[operator]
    if not differences:
        return None
    zero = differences[0] - differences[0]
    for i, difference in enumerate(differences):
        if difference == zero:
            raise DataError(f"{shown} has the time {show(times[i])} twice: expected one row for each; remove a row")
        if difference < zero:
            raise DataError(
                f"{shown} has the time {show(times[i + 1])} after {show(times[i])}: expected rows in the order of "
                "time; sort them, or name the column with --time"
            )
    for step in _candidates(times, differences):
        if step.after(times[0], len(differences)) == list(times[1:]):
            return step
    if not isinstance(times[0], datetime):
        least = min(differences)
        if max(differences) - least <= 1e-6 * least:  # rounded times
            return Step(least)
    usual = min(differences)
    place = next(i for i, difference in enumerate(differences) if difference > _longest(usual, differences))
    raise DataError(
        f"{shown} has a gap in its times between {show(times[place])} and {show(times[place + 1])}: expected equal "
        "steps; add rows with empty cells, or give no column of times"
    )


def _longest(usual: Any, differences: Sequence[Any]) -> Any:
    """The longest difference that is no gap: a month may be longer than the shortest one."""
    if isinstance(usual, timedelta) and timedelta(days=28) <= usual <= timedelta(days=31):
        usual = timedelta(days=31)
    return usual if max(differences) > usual else min(differences)


def _candidates(times: Sequence[Time], differences: Sequence[Any]) -> list[Step]:
    first, second = times[0], times[1]
    if not isinstance(first, datetime) or not isinstance(second, datetime):
        return [Step(differences[0])]
    months = 12 * (second.year - first.year) + second.month - first.month
    steps = [Step(differences[0])]
    if months:
        steps.append(Step(differences[0], months=months))
    if min(differences) == _DAY and first.weekday() < 5:
        steps.append(Step(_DAY, working_days=True))
    return steps


def _add_months(time: datetime, months: int) -> datetime:
    """The same day of a later month; the last day of a month stays the last."""
    year, month = divmod(12 * time.year + time.month - 1 + months, 12)
    most = calendar.monthrange(year, month + 1)[1]
    is_last = time.day == calendar.monthrange(time.year, time.month)[1]
    return time.replace(year=year, month=month + 1, day=most if is_last else min(time.day, most))


def show(time: Time) -> str:
    """The text of a time, as in a file; a time of day of 00:00 is left out."""
    if not isinstance(time, datetime):
        return f"{time:g}"
    text = time.replace(tzinfo=None).isoformat(" ")
    return text.removesuffix(" 00:00:00")
