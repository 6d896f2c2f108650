"""What a model consists of: the sizes and choices, and the parts of a forecast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

from xrnn.series.errors import SettingsError
from xrnn.series.forecast import calendar
from xrnn.series.parameters import MOST_STEPS, NAMES, TEXT, YES_NO, Rule, or_none, whole
from xrnn.series.read import MOST_CHANNELS
from xrnn.series.scale import Scale
from xrnn.typing import HostArray

LEAST_ROWS: Final = 4  # of a series, so that its forecast is not naive; and before the first window
_RULES: Final = {
    **dict.fromkeys(("context", "horizon", "season"), whole(1, MOST_STEPS)),
    "known": whole(0, MOST_CHANNELS),
    "channel_names": or_none(NAMES),
    "step": TEXT,
    "log": YES_NO,
    "calendar": Rule("week, year or empty text", lambda value: isinstance(value, str) and value in calendar.COLUMNS),
}


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

    @classmethod
    def of(cls, value: Any) -> Self:
        """The facts in a file.   Raises SettingsError."""
        if not isinstance(value, dict) or value.keys() != _RULES.keys():
            raise SettingsError(f"facts_ has other names: expected {', '.join(_RULES)}")
        for name, rule in _RULES.items():
            rule.check(name, value[name])
        facts = cls(**{name: rule.read(value[name]) for name, rule in _RULES.items()})
        if facts.season > facts.context:
            raise SettingsError("season is larger than context: expected at most that")
        if facts.channel_names is not None and len(facts.channel_names) != 1 + facts.known:
            raise SettingsError(f"channel_names has {len(facts.channel_names)} names: expected {1 + facts.known}")
        return facts


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
