"""Lines and bands in the picture of a forecast, which have gaps on closed days."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from xrnn.series.steps import step_named
from xrnn.typing import HostArray

_DAY: Final = timedelta(days=1)


def has_gaps(step: str) -> bool:
    """Whether closed weekdays of this step are gaps in a line: at least half of the open ones have an open neighbour.

    Otherwise, as for Monday, Wednesday and Friday, nothing but gaps would be left, so that a line joins the open days.
    """
    found = step_named(step, datetime(2000, 1, 1))
    if not (found and found.closed):
        return False
    open_days = [day for day in range(7) if day not in found.closed]
    joined = [day for day in open_days if {(day - 1) % 7, (day + 1) % 7} & {*open_days}]
    return 2 * len(joined) >= len(open_days)


def with_gaps(step: str, times: Sequence[Any], values: HostArray) -> tuple[list[Any], HostArray]:
    """Times and values (T, n), with a row of NaN on the first of the closed days between two rows.

    step   the name of the step of the times; without gaps, all stays as it is
    """
    if not has_gaps(step):
        return [*times], values
    before = [i for i, (a, b) in enumerate(itertools.pairwise(times)) if b - a > _DAY]
    shown = [*times]
    for i in reversed(before):
        shown.insert(i + 1, times[i] + _DAY)
    return shown, np.insert(values, np.array(before, dtype=int) + 1, np.nan, axis=0)


def draw_line(axes: Any, step: str, times: Sequence[Any], values: HostArray, **style: Any) -> None:
    """A line through values (T,). A value between two gaps is a point.   style: of Matplotlib's `plot`"""
    shown, column = with_gaps(step, times, values[:, None])
    alone = _alone(column[:, 0])
    if alone:
        style |= {"marker": ".", "markersize": 3 * style["linewidth"], "markevery": alone}
    axes.plot(shown, column[:, 0], **style)


def draw_band(axes: Any, step: str, times: Sequence[Any], values: HostArray, color: str) -> None:
    """The area between the first and the last column of values (T, n). Between two gaps, it is a thin line."""
    shown, columns = with_gaps(step, times, values[:, [0, -1]])
    low, high = columns.T
    axes.fill_between(shown, low, high, color=color, alpha=0.2, linewidth=0)
    if alone := _alone(low):
        axes.vlines([shown[i] for i in alone], low[alone], high[alone], color=color, alpha=0.2, linewidth=3)


def _alone(values: HostArray) -> list[int]:
    """The places of the values (T,) with NaN, or nothing, on both sides."""
    known = np.pad(~np.isnan(values), 1)
    return [int(i) for i in np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])]
