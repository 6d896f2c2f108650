"""The settings of a forecaster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from xrnn.models.data.series import as_number
from xrnn.models.data.tables import Columns, names_in
from xrnn.models.labelled.settings import column, decimal, identifier
from xrnn.models.settings import Settings, amount, probability, setting, size
from xrnn.optim import Adam

MOST_STEPS: Final = 2**16  # of a context or a horizon: a limit on what a checkpoint of unknown origin can allocate
_MOST_QUANTILES: Final = 100


def _steps(help: str) -> Any:
    return setting(0, help, f"a whole number from 0 to {MOST_STEPS}", lambda value: 0 <= value <= MOST_STEPS)


def parse_quantiles(text: str) -> tuple[float, ...]:
    """The quantiles in "0.1,0.9", in order, with the median.   Raises ValueError for equal ones, and outside (0, 1)."""
    numbers = [as_number(each.strip()) for each in text.split(",")]
    quantiles = {number for number in numbers if number is not None and 0 < number < 1}
    if len(numbers) > _MOST_QUANTILES or len(quantiles) < len(numbers):
        raise ValueError(text)
    return tuple(sorted(quantiles | {0.5}))


def _are_quantiles(text: str) -> bool:
    try:
        return len(parse_quantiles(text)) > 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ForecastSettings(Settings):
    """Raises SettingsError for invalid values."""

    hidden: int = size(32, "Size of the hidden state, H.")
    batch: int = size(64, "Windows per update.")
    lr: float = setting(
        0.001,
        "Highest learning rate of Adam.",
        "a positive number up to 1000, such as 0.001",
        lambda value: 0 < value <= 1000,
    )
    target: str = column("Column to forecast: its name, or its number from 1. Default: the only one.")
    known: str = column("Columns whose future is known: rows after the last value hold it.", "COLUMN,COLUMN,…")
    horizon: int = size(12, "Number of steps to forecast.", MOST_STEPS)
    context: int = _steps("Number of steps that a forecast is made from. 0: three seasons, or two horizons if longer.")
    season: int = _steps("Steps in a season. 0: from the time stamps (12 if monthly, 7 if daily, …), else 1.")
    quantiles: str = setting(
        "0.1,0.9",
        "Quantiles to forecast besides the median.",
        "different numbers between 0 and 1 with commas between them, such as 0.1,0.9",
        _are_quantiles,
        "Q,Q,…",
    )
    dropout: float = probability(0.2, "Dropout probability, between layers and after the last one.")
    noise: float = amount(0.2, "Noise added to the context in training, in standard deviations of the window.")
    decay: float = amount(0.03, "Weight decay.")
    decimal: str = decimal()
    id: str = identifier()
    time: str = column("Column of times. Default: the column of dates, or a first column without a name.")

    def optimizer(self, layers: Iterable[Any]) -> Adam:
        return Adam(layers, self.lr, weight_decay=self.decay)

    @property
    def columns(self) -> Columns:
        """How to read .csv files."""
        used = (self.target, *names_in(self.known)) if self.target else ()
        remedy = "correct it, or name the column to forecast with --target"
        return Columns(self.decimal, id=self.id, time=self.time, timed=True, used=used, remedy=remedy)

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles in order, with the median."""
        return parse_quantiles(self.quantiles)

    @property
    def training(self) -> str:
        return (
            f"batches of {self.batch}; dropout {self.dropout:g}, noise {self.noise:g}, decay {self.decay:g}, "
            f"lr {self.lr:g}"
        )
