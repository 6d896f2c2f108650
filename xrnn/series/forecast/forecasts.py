"""The forecast of a series after its last value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from xrnn.files import printable
from xrnn.series.checks import Time
from xrnn.series.forecast.series import OneSeries
from xrnn.series.times import show
from xrnn.typing import HostArray

TOO_FEW: Final = "too few rows, missing or equal values"
_MOST_NAMES: Final = 8  # of series, in a line


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The forecast of one series.

    name, id    of the series; the id in the column that tells the series of a file apart, else the name
    times       of the steps ahead; their numbers 1, 2, … without a column of times
    levels      the quantiles; values (F, Q)
    flawed      whether the forecast is naive: see `OneSeries.flawed`
    """

    name: str
    id: str
    times: Sequence[Time]
    levels: tuple[float, ...]
    values: HostArray
    flawed: bool

    @property
    def median(self) -> HostArray:
        """(F,)"""
        median: HostArray = self.values[:, self.levels.index(0.5)]
        return median

    def steps(self) -> list[dict[str, Any]]:
        """For `--json`: an object for each step ahead. If one has a time of day, midnight has its 00:00, too."""
        days = len({time.time() for time in self.times if isinstance(time, datetime)}) < 2
        return [
            {
                "time": time.isoformat(" ") if not days and isinstance(time, datetime) else show(time),
                "value": value,
                "quantiles": {f"{q:g}": v for q, v in zip(self.levels, row, strict=True)},
            }
            for time, value, row in zip(self.times, self.median.tolist(), self.values.tolist(), strict=True)
        ]


def next_steps(series: OneSeries) -> Forecast:
    """The steps after the rows to learn from. The forecast is naive if the series is flawed.

    Raises DataError if the series lacks a known value.
    """
    if not series.flawed:
        series.check_known()
    T, F = series.cut, series.model.horizon
    times: Sequence[Time] = (series.given.times or ())[T : T + F]
    (values,) = series.quantiles(np.array([T]))
    times = times if len(times) == F else range(1, F + 1)
    return Forecast(series.name, series.id, times, series.model.levels, values, series.flawed)


def listed(what: str, names: Sequence[str], count: int) -> str:
    """A line: which of `count` series are `what`, since they have too few rows; empty if none is."""
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    shown = ", ".join(map(printable, names[:_MOST_NAMES]))
    return f"{what} {len(names):,} of {count:,} series ({shown}{more}): {TOO_FEW}" if names else ""


def naive_forecasts(forecasts: Sequence[Forecast]) -> str:
    """A line: which forecasts are naive; empty if none is."""
    return listed("naive forecasts for", [each.id for each in forecasts if each.flawed], len(forecasts))
