"""Calendar columns, computed from the times of the steps. A model uses them like known columns.

They describe a second, longer season: the week for hours, whose first season is the day, and the year for days.

    week   whether it is Tuesday, …, Sunday; on weekends also cos and sin of 2πk · hour / 24, k = 1, 2; and the same
           waves times each known column: a holiday has other hours than a working day
    year   cos and sin of 2πk · day of the year / 365.25, k = 1, 2, 3
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from xrnn.series.checks import Time
from xrnn.series.times import Step
from xrnn.typing import HostArray

_DAY: Final = timedelta(days=1)
_LEAST_SEASONS: Final = 2


def calendar_of(step: Step | None, rows: int) -> str:
    """The calendar for series of this step and number of rows; empty if there is no longer season, or too few rows."""
    size: Any = step.size if step else None
    if not isinstance(size, timedelta) or size > _DAY or _DAY % size:
        return ""
    days = rows * size / _DAY * (7 / 5 if step and step.working else 1)
    calendar, length = ("year", 365.25) if size == _DAY else ("week", 7.0)
    return calendar if days >= _LEAST_SEASONS * length else ""


def columns(calendar: str, times: Sequence[Time], known: HostArray) -> HostArray:
    """The columns (T, n) of a calendar at times (T,), which are dates.   known (T, K)"""
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
