"""A fitted model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from xrnn.series.scale import Scale
from xrnn.typing import HostArray

LEAST_ROWS: Final = 4  # before the first window


@dataclass(kw_only=True, eq=False)
class Model:
    """forecast = smoothing · smoothed + (1 - smoothing) · (level + scale · [z; 1] @ linear)
                + unit · ([h; 1] @ recurrent + columns @ effect)

    `smoothed` is the forecast of exponential smoothing, z (C,) the context scaled by its own level and scale, and h
    (H,) the last state of a GRU that read the recent errors of exponential smoothing. They are computed without the
    effect of the columns, of logarithms if `log`. A quantile is the forecast + unit · (1 + spread · reach) · offset.

    horizon F, season m, context C   steps
    channel_names   the target, then the K known columns
    step            the name of the step of the times; empty without times
    log             True if the model forecasts logarithms
    calendar        the name of its calendar columns, see `calendar.py`; empty for none
    known_scale     of the known columns, from the rows to learn from
    effect          of the known and calendar columns, in units of a series, see `OneSeries`
    linear          (C + 1, F), 0 if there is no linear part
    smoothing       the share of exponential smoothing
    recurrent       (H + 1, F), the output layer of the recurrent part, 0 if there is none
    levels          the Q quantiles, with the median
    offsets         (F, Q), the distances of the quantiles from the forecast, in units of a series; 0 for the median
    spread          errors are larger if known columns have a large effect, the reach
    """

    horizon: int
    season: int
    context: int
    channel_names: tuple[str, ...] | None
    step: str
    log: bool = False
    calendar: str = ""
    known_scale: Scale = field(repr=False)
    effect: HostArray = field(repr=False)
    linear: HostArray = field(repr=False)
    smoothing: float = 1.0
    recurrent: HostArray = field(repr=False)
    levels: tuple[float, ...]
    offsets: HostArray = field(repr=False)
    spread: float = 0.0

    @property
    def known(self) -> int:
        """K"""
        return len(self.known_scale.mean)

    @property
    def least_rows(self) -> int:
        """The rows before the first window. Its context may begin before the series."""
        return max(self.season, LEAST_ROWS)
