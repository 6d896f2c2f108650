"""What a model consists of: the sizes and choices, and the parts of a forecast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from xrnn.series.forecast import calendar
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

LEAST_ROWS: Final = 4  # of a series, so that its forecast is not naive; and before the first window


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of the data that a model depends on.

    context  C, horizon F, season m: steps;   known  K: the number of known columns
    log      True if the model forecasts logarithms
    calendar the name of its calendar columns, see `calendar.py`; empty for none
    step     the name of the step of the times; empty without times
    """

    context: int
    horizon: int
    season: int
    known: int
    channel_names: tuple[str, ...] | None = None  # the target, then the known columns
    step: str = field(default="", compare=False)
    log: bool = False
    calendar: str = ""

    @property
    def columns(self) -> int:
        """The number of known and calendar columns."""
        return self.known + calendar.COLUMNS[self.calendar] + calendar.OF_KNOWN[self.calendar] * self.known

    @property
    def least_rows(self) -> int:
        """The rows before the first window. Its context may begin before the series."""
        return min(max(self.season, LEAST_ROWS), self.context)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """forecast = smoothing · smoothed + (1 - smoothing) · (level + scale · [z; 1] @ linear)
                + unit · ([h; 1] @ recurrent + columns @ effect)

    `smoothed` is the forecast of exponential smoothing, z (C,) the context scaled by its own level and scale, and h
    (H,) the last state of a GRU that read the recent errors of exponential smoothing. They are computed without the
    effect of the columns, of logarithms if `facts.log`.

    known_scale   of the known columns, from the rows to learn from
    effect        of the known and calendar columns, in units of a series, see `OneSeries`
    linear        (C + 1, F)
    smoothing     the share of exponential smoothing
    recurrent     (H + 1, F), the output layer of the recurrent part, 0 if there is none
    """

    facts: Facts
    known_scale: Scale
    effect: HostArray
    linear: HostArray
    smoothing: float
    recurrent: HostArray
