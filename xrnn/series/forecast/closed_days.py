"""Days on which a shop is closed: weekdays that have no rows, or rows of 0 or empty cells, and holidays.

A model sees a row for each day that its step says is open, so that the rows of a season are those of a week. Rows of
holidays are added: copies of the rows a season before. They are neither forecast nor scored.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from xrnn.series.one_series import Series, Time
from xrnn.series.steps import LEAST_WEEKS, MOST_HOLIDAYS, Step, step_named
from xrnn.typing import HostArray

_LARGEST_CHANCE: Final = 1e-3  # that a weekday of an open shop has zeros alone
_RARELY_OPEN: Final = 0.1  # of the open days on the weekday with most of them
_LEAST_OPEN: Final = 20  # open days on that weekday, in each series, to call another one rarely open


def without_closed_days(series: Sequence[Series], season: int = 0, step: str = "") -> list[Series]:
    """The series without the rows of closed weekdays.

    They hold 0 or empty cells, and their number is in `Series.idle_rows`; or else a shop is rarely open on the weekday,
    such as on four Sundays a year, and the days are in `Series.rare_rows`. It is rarely open if all series together
    have at most a tenth as many open days there as on another weekday, on which each is open 20 times or more.

    Another weekday is closed if all its rows in all series are 0 or empty, in three weeks or more, and if this can't be
    chance: with the share p of such rows on the other days and n rows on the weekday, 7 pⁿ is below 0.001. Rows of 0 on
    other days are holidays if they are at most 8 %.

    season   a multiple of 7 keeps all days
    step     the name of the step of a model, whose closed weekdays are left out; empty to find them
    """
    if season and season % 7 == 0:
        return [*series]
    of_model = step_named(step, datetime(2000, 1, 1))
    closed = (of_model.closed if of_model else frozenset()) if step else _closed_weekdays(series)
    return [_without(one, closed) for one in series] if closed else [*series]


def _weekdays(series: Series) -> HostArray | None:
    """The weekday (T,) of each row, 0 for Monday; None if the rows are no days."""
    dates: list[Any] = [*(series.times or ())]
    if len(dates) < 2 or not isinstance(dates[0], datetime):
        return None
    steps = {b - a for a, b in itertools.pairwise(dates)}
    day = timedelta(days=1)
    if min(steps) != day or any(step % day for step in steps):
        return None
    return np.array([date.weekday() for date in dates])


def _is_idle(series: Series) -> HostArray:
    """Whether each row up to the last value of the target, (T',), has the target 0 or none."""
    target = series.values[: series.target_rows.stop, 0]
    return np.isnan(target) | (target == 0)


def _closed_weekdays(series: Sequence[Series]) -> frozenset[int]:
    """The weekdays whose rows are all idle in all series, unless this may be chance."""
    idle, rows = np.zeros(7), np.zeros(7)
    for one in series:
        days = _weekdays(one)
        of_series = _is_idle(one)
        if days is None:
            return frozenset()
        rows += np.bincount(days[: len(of_series)], minlength=7)
        idle += np.bincount(days[: len(of_series)], of_series, minlength=7)
    rare = _rarely_open(rows - idle, len(series))
    closed = (idle == rows) & (rows >= LEAST_WEEKS * len(series))
    others = ~closed & ~rare
    if closed.any() and others.any():
        share = idle[others].sum() / max(rows[others].sum(), 1)
        closed &= 7 * share ** rows[closed].min() <= _LARGEST_CHANCE
    else:
        closed[:] = False
    if not (closed | rare).any():
        return frozenset()
    return frozenset(np.flatnonzero(closed | rare | (rows == 0)).tolist())


def _rarely_open(days: HostArray, count: int) -> HostArray:
    """The weekdays (7,) on which a shop is rarely open.   days: (7,), the open ones in `count` series"""
    most = days.max()
    return (days > 0) & (days <= _RARELY_OPEN * most) & (most >= _LEAST_OPEN * count)


def _without(series: Series, closed: frozenset[int]) -> Series:
    """The series without the rows of closed days; as it is if it is often open on one of these weekdays."""
    weekdays = _weekdays(series)
    idle = _is_idle(series)
    if weekdays is None:
        return series
    is_closed = np.isin(weekdays, [*closed])
    known = is_closed[: len(idle)]
    is_rare = known & ~idle
    open_days = np.bincount(weekdays[: len(idle)][~idle], minlength=7)
    on_closed = np.isin(np.arange(7), [*closed]) & (open_days > 0)
    if not known.any() or not _rarely_open(open_days, 1)[on_closed].all():
        return series
    of_holidays = (series.values[: len(idle), 0] == 0) & ~known
    if (known & idle).any() and of_holidays.sum() <= MOST_HOLIDAYS * (~known).sum():
        is_closed[: len(idle)] |= of_holidays
    times: Any = series.times
    return replace(
        series,
        values=series.values[~is_closed],
        times=tuple(times[i] for i in np.flatnonzero(~is_closed)),
        idle_rows=int((is_closed[: len(idle)] & idle).sum()),
        rare_rows=tuple(times[i] for i in np.flatnonzero(is_rare)),
    )


def with_holidays(series: Series, step: Step | None) -> Series:
    """The series with a row for each open day of this step. Added rows are copies of those a season before."""
    dates: Any = series.times
    if not (step and step.closed and dates):
        return series
    every = [dates[0]]
    while every[-1] < dates[-1]:
        every.append(step.next(every[-1]))
    place = {date: i for i, date in enumerate(dates)}
    rows = np.array([place.get(date, -1) for date in every])
    closed = rows < 0
    for i in np.flatnonzero(closed):
        rows[i] = rows[i - step.season] if i >= step.season else rows[i - 1]
    values = series.values[rows]
    last = dates[series.target_rows.stop - 1] if series.target_rows else dates[0]
    values[bisect_right(every, last) :, 0] = np.nan
    return replace(series, values=values, times=tuple(every), closed=tuple(closed.tolist()))


def with_times_ahead(series: Series, step: Step, horizon: int) -> Series:
    """The series with the times of the next steps: as many as leave `horizon` open days."""
    times = series.times or ()
    ahead = step.after(times[-1], horizon, series.zone)
    while (holidays := sum(_is_holiday(series, time) for time in ahead)) > len(ahead) - horizon:
        ahead = step.after(times[-1], horizon + holidays, series.zone)
    closed: tuple[bool, ...] = ()
    if step.closed:
        closed = (*series.closed, *(_is_holiday(series, time) for time in ahead))
    return replace(series, times=(*times, *ahead), closed=closed)


def _is_holiday(series: Series, time: Time) -> bool:
    return isinstance(time, datetime) and time.date() in series.holidays
