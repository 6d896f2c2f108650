"""The forecast of a series after its last value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from xrnn.files import printable
from xrnn.series.checks import Time
from xrnn.series.forecast.fit import listed
from xrnn.series.forecast.intervals import Intervals
from xrnn.series.forecast.series import TOO_FEW, OneSeries
from xrnn.series.times import show
from xrnn.typing import HostArray

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The forecast of one series.

    name        of the series
    times       of the steps ahead; their numbers 1, 2, … without a column of times
    levels      the quantiles; values (F, Q)
    flaw        why the forecast is naive: see `OneSeries.flaw`; empty if it is that of the model
    id          in the column that tells the series of a file apart, else the name
    clock       whether steps are shorter than a day: the text of a time then has its 00:00
    """

    name: str
    times: Sequence[Time]
    levels: tuple[float, ...]
    values: HostArray
    flaw: str = ""
    id: str = ""
    clock: bool = False

    @property
    def median(self) -> HostArray:
        """(F,)"""
        median: HostArray = self.values[:, self.levels.index(0.5)]
        return median

    def steps(self) -> list[dict[str, Any]]:
        """For `--json`: an object for each step ahead."""
        return [
            {
                "time": time.isoformat(" ") if self.clock and isinstance(time, datetime) else show(time),
                "value": value,
                "quantiles": {f"{q:g}": v for q, v in zip(self.levels, row, strict=True)},
            }
            for time, value, row in zip(self.times, self.median.tolist(), self.values.tolist(), strict=True)
        ]


def next_steps(series: OneSeries, intervals: Intervals) -> Forecast:
    """The steps after the last value of `series`. The forecast is naive if the series has a flaw.

    Raises DataError if the series lacks a known value.
    """
    if not series.flaw:
        series.check_known()
    T, F = series.rows, series.facts.horizon
    last, *times = (series.given.times or ())[T - 1 : T + F] or [0.0]
    clock = any(isinstance(time, datetime) and bool((time - last) % _DAY) for time in times)  # type: ignore[operator]
    (values,) = intervals.around(series, np.array([T]))
    times = times if len(times) == F else [*range(1, F + 1)]
    return Forecast(series.name, times, intervals.levels, values, series.flaw, series.id, clock)


def naive_forecasts(forecasts: Sequence[Forecast]) -> str:
    """A line: which forecasts are naive, and why; empty if none is."""
    naive = [each for each in forecasts if each.flaw]
    if len(forecasts) == 1 and naive:
        return f"a naive forecast, since {printable(naive[0].name)} {naive[0].flaw}"
    names = listed([each.id for each in naive], len(forecasts))
    return f"naive forecasts for {names}: {TOO_FEW}" if naive else ""
