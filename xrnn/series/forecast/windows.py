"""Windows of series: the context that a forecast is made from, and the values to forecast.

A window is scaled by its own values:

    z = (v - level) / scale,   level = mean of the last season,   scale = standard deviation of the window

The forecast is the base: an average of exponential smoothing and a linear forecast.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

import numpy as np

from xrnn.series.errors import SettingsError
from xrnn.series.forecast import calendar
from xrnn.series.parameters import MOST_STEPS, NAMES, whole
from xrnn.series.read import MOST_CHANNELS
from xrnn.typing import HostArray

FAR: Final = 1e3  # scales from the level: values are clipped here, so that one outlier does not decide the linear part
LARGEST: Final = 700.0  # the exponential of more is infinite in float64
_REACH: Final = 3.0  # usual changes that a forecast of logarithms may be outside of the range of its context
_USUAL: Final = 0.9  # the share of the changes in a context that are smaller


@dataclass(frozen=True, slots=True)
class ForecastFacts:
    """The properties of the data that the model depends on: the sizes of a window, and the names of its channels.

    context  C, horizon F, season m: steps;   known  K: the number of known columns
    log      True if the model forecasts logarithms
    calendar the name of its calendar columns, see `calendar.py`; empty for none
    step     the name of the step of the times; empty without times
    """

    context: int
    horizon: int
    season: int
    known: int
    channel_names: tuple[str, ...] | None = None  # the target, then the known covariates
    step: str = field(default="", compare=False)
    log: bool = False
    calendar: str = ""

    @property
    def covariates(self) -> int:
        """The number of known and calendar columns."""
        return self.known + calendar.COLUMNS[self.calendar] + calendar.OF_KNOWN[self.calendar] * self.known

    @classmethod
    def of(cls, value: Any) -> Self:
        """The facts in a file.   Raises SettingsError."""
        expected = [each.name for each in fields(cls)]
        if not isinstance(value, dict) or value.keys() != {*expected}:
            raise SettingsError(f"facts_ has other names: expected {', '.join(expected)}")
        if type(value["log"]) is not bool:
            raise SettingsError("log is not true or false: expected one of them")
        if value["calendar"] not in [*calendar.COLUMNS]:  # a list: the value may not be hashable
            raise SettingsError(f"calendar is unknown: expected {' or '.join(filter(None, calendar.COLUMNS))}")
        for name in ("context", "horizon", "season", "known"):
            (whole(0, MOST_CHANNELS) if name == "known" else whole(1, MOST_STEPS)).check(name, value[name])
        if value["season"] > value["context"]:
            raise SettingsError("season is larger than context: expected at most that")
        if (names := value["channel_names"]) is not None:
            NAMES.check("channel_names", names)
            if len(names) != 1 + value["known"]:
                raise SettingsError(f"channel_names has {len(names)} names: expected {1 + value['known']}")
        if not isinstance(value["step"], str):
            raise SettingsError("step is not a string: expected the name of a step")
        return cls(**value | {"channel_names": names and tuple(names)})


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """N windows. With `log`, base and unit are those of the logarithms of the values.

    base     (N, F), the forecast
    unit     (N, 1), of the width of the intervals
    reach    (N, F), the size of the effect of the known columns beside its mean, in units of a series
    limits   (N, F, 2): no forecast is below the first or above the second
    target   (N, F), NaN for a missing value; None if the future is unknown
    """

    base: HostArray
    unit: HostArray
    reach: HostArray
    limits: HostArray
    log: bool
    target: HostArray | None = None

    @property
    def error(self) -> HostArray:
        """The target minus the base, (N, F), NaN for a missing value."""
        target: Any = np.log(np.asarray(self.target)) if self.log else self.target
        error: HostArray = target - self.base
        return error

    def forecast(self, distance: HostArray) -> HostArray:
        """The values at distances from the base, within the limits: (N, F, Q) → (N, F, Q) float64."""
        values: HostArray = (self.base[..., None] + distance).clip(self.limits[..., :1], self.limits[..., 1:])
        return np.exp(values) if self.log else values


def contexts(values: HostArray, origins: HostArray, facts: ForecastFacts, least: float) -> tuple[HostArray, ...]:
    """The contexts of windows as z (N, C), their level and scale (N, 1).

    origins   (N,), the places of the first steps to forecast. A context that begins before the series is padded: its
              first season is repeated
    least     the smallest scale
    """
    places = origins[:, None] + np.arange(-facts.context, 0)
    context = values[np.where(places < 0, places % facts.season, places)]
    level = context[:, -facts.season :].mean(axis=1, keepdims=True)
    scale = np.maximum(context.std(axis=1, keepdims=True), least)
    return ((context - level) / scale).clip(-FAR, FAR), level, scale


def limits_of_logarithms(context: HostArray, unit: float, effect: HostArray) -> HostArray:
    """The lowest and the highest logarithm that windows forecast, (N, F, 2).

    It is the range of the context (N, C), widened by three times its usual change over a horizon, or the unit of the
    series if that is larger. Without limits, a last value that is an error, such as 1e30, could be continued as a
    trend, to a number that is not finite.

    effect   (N, F), of the known columns, which the context does not contain
    """
    C, F = context.shape[1], effect.shape[1]
    lag = max(min(F, C // 2), 1)
    changes = np.sort(np.abs(context[:, lag:] - context[:, :-lag]), axis=1)
    usual = changes[:, int(_USUAL * (C - lag - 1))] * F / lag if lag < C else np.zeros(len(context))
    margin = _REACH * np.maximum(usual, unit)
    ends = np.stack([context.min(axis=1) - margin, context.max(axis=1) + margin], axis=1)
    limits: HostArray = (ends[:, None] + effect[..., None]).clip(-LARGEST, LARGEST)
    return limits


def joined(parts: list[Windows]) -> Windows:
    """All windows of `parts`, in their order."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Windows.__slots__
        if name != "log" and getattr(parts[0], name) is not None
    }
    return Windows(**arrays, log=parts[0].log)


def fill(values: HostArray, season: int) -> HostArray:
    """values (T,) without NaN: a missing value is that of a season before, else the last one, else the first known."""
    filled = values.copy()
    first = np.flatnonzero(~np.isnan(values))[0]
    filled[:first] = values[first]
    for t in np.flatnonzero(np.isnan(filled)):
        filled[t] = filled[t - season] if t >= season else filled[t - 1]
    return filled
