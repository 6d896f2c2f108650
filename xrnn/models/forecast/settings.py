"""The settings of a forecaster, and what it depends on of its data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

from xrnn.files import quoted
from xrnn.models.errors import SettingsError, param
from xrnn.models.forecast import calendar
from xrnn.models.plan import Plan
from xrnn.models.settings import (
    Settings,
    amount,
    are_strings,
    check_object,
    column,
    decimal,
    encoding,
    identifier,
    probability,
    setting,
    size,
)
from xrnn.optim import Adam
from xrnn.series.checks import as_number
from xrnn.series.read import MOST_CHANNELS
from xrnn.series.tables import Columns, names_in

MOST_STEPS: Final = 2**16  # of a context or a horizon: a limit on what a checkpoint of unknown origin can allocate
_MOST_QUANTILES: Final = 100
_MOST_OUTPUTS: Final = 2**20
_CALENDARS: Final = ("auto", "none")
_SIZES: Final = ("context", "horizon", "season", "known")


def _steps(help: str) -> Any:
    return setting(0, help, f"a whole number from 0 to {MOST_STEPS}", lambda value: 0 <= value <= MOST_STEPS)


def parse_quantiles(text: str) -> tuple[float, ...]:
    """The quantiles in "0.1,0.9", in order, with the median.

    Raises ValueError unless they are in (0, 1) and differ, both in six digits: tables name a quantile by these.
    """
    numbers = [as_number(each.strip()) for each in text.split(",")]
    quantiles = {number for number in numbers if number is not None and 0 < float(f"{number:g}") < 1}
    if len(numbers) > _MOST_QUANTILES or len(quantiles) < len(numbers):
        raise ValueError(text)
    quantiles |= {0.5}
    if len({f"{quantile:g}" for quantile in quantiles}) < len(quantiles):
        raise ValueError(text)
    return tuple(sorted(quantiles))


def _are_quantiles(text: str) -> bool:
    try:
        return len(parse_quantiles(text)) > 0
    except ValueError:
        return False


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
    def sizes(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _SIZES}

    @property
    def inputs(self) -> int:
        """Inputs of a step: the scaled value, its change since the last season, and the covariates."""
        return 2 + self.covariates

    @property
    def covariates(self) -> int:
        """The number of known and calendar columns."""
        return self.known + calendar.COLUMNS[self.calendar]

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `asdict` and JSON.   Raises SettingsError for any other value."""
        given, expected = check_object(value), [each.name for each in fields(cls)]
        if given.keys() != {*expected}:
            raise SettingsError(f"they have other names: expected {', '.join(expected)}")
        if type(given["log"]) is not bool:
            raise SettingsError("log is not true or false: expected one of them")
        if given["calendar"] not in [*calendar.COLUMNS]:  # a list: the value may not be hashable
            raise SettingsError(f"calendar is unknown: expected {' or '.join(filter(None, calendar.COLUMNS))}")
        for name in _SIZES:
            least, most = (0, MOST_CHANNELS) if name == "known" else (1, MOST_STEPS)
            if type(given[name]) is not int or not least <= given[name] <= most:
                got = quoted(str(given[name]))
                raise SettingsError(f"{name} is {got}: expected a whole number from {least} to {most}")
        if given["season"] > given["context"]:
            raise SettingsError("season is larger than context: expected at most that")
        names = given["channel_names"]
        if names is not None and not are_strings(names):
            raise SettingsError("channel_names is not a list of strings: expected one, or null")
        if names is not None and len(names) != 1 + given["known"]:
            raise SettingsError(f"channel_names has {len(names)} names: expected {1 + given['known']}")
        if not isinstance(given["step"], str):
            raise SettingsError("step is not a string: expected the name of a step")
        return cls(**given | {"channel_names": names and tuple(names)})


@dataclass(frozen=True, slots=True)
class ForecastSettings(Settings):
    """Raises SettingsError for invalid values."""

    hidden: int = size(32, "Size of the hidden state, H.")
    batch: int = size(64, "Windows per update.")
    lr: float = setting(
        0.0,
        "Highest learning rate of Adam. 0: chosen by left-out rows.",
        "a positive number up to 1000, or 0",
        lambda value: 0 <= value <= 1000,
    )
    target: str = column("Column to forecast: its name, or its number from 1. Default: the only one.")
    known: str = column(
        "Columns known in advance. Give their future values in rows after the last value of the target.",
        "COLUMN,COLUMN,…",
    )
    horizon: int = size(12, "Number of steps to forecast.", MOST_STEPS)
    context: int = _steps("Number of steps that a forecast is made from. 0: three seasons, or two horizons if longer.")
    season: int = _steps("Steps in a season. 0: from the time stamps (12 if monthly, 7 if daily, …), else 1.")
    calendar: str = setting(
        "auto",
        "A second season from the time stamps, the week or the year: if it helps on left-out rows, or never.",
        " or ".join(_CALENDARS),
        lambda value: value in _CALENDARS,
        "|".join(_CALENDARS),
    )
    quantiles: str = setting(
        "0.1,0.9",
        "Quantiles to forecast besides the median.",
        "numbers between 0 and 1 that differ in their first six digits, with commas between them, such as 0.1,0.9",
        _are_quantiles,
        "Q,Q,…",
    )
    dropout: float = probability(0.2, "Dropout probability, between layers and after the last one.")
    noise: float = amount(0.2, "Noise added to the context in training, in standard deviations of the window.")
    decay: float = amount(0.03, "Weight decay.")
    decimal: str = decimal()
    encoding: str = encoding()
    id: str = identifier()
    time: str = column("Column of times. Default: the column of dates, or a first column without a name.")

    def plan(self, facts: ForecastFacts) -> Plan:
        """Raises SettingsError for too many outputs."""
        F, Q = facts.horizon, len(self.levels)
        if F * max(facts.covariates, Q) > _MOST_OUTPUTS:
            raise SettingsError(f"horizon is {F}: expected at most {_MOST_OUTPUTS} outputs")
        return Plan(
            self.cell,
            facts.inputs,
            self.hidden,
            self.layers,
            F * Q,
            features=facts.context + F * facts.covariates,
            dropout=self.dropout,
            seed=self.seed,
            heads=self.heads_of_plan,
        )

    def optimizer(self, layers: Iterable[Any]) -> Adam:
        return Adam(layers, self.lr or 0.001, weight_decay=self.decay)  # an update sets its own rate

    @property
    def columns(self) -> Columns:
        """How to read .csv files."""
        used = (self.target, *names_in(self.known)) if self.target else ()
        remedy = f"correct it, or name the column to forecast with {param('target')}"
        return Columns(
            self.decimal, id=self.id, time=self.time, timed=True, used=used, encoding=self.encoding, remedy=remedy
        )

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles in order, with the median."""
        return parse_quantiles(self.quantiles)

    @property
    def training(self) -> str:
        lr = f"lr {self.lr:g}" if self.lr else "lr chosen"
        return f"batches of {self.batch}; dropout {self.dropout:g}, noise {self.noise:g}, decay {self.decay:g}, {lr}"
