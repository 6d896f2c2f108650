"""The settings of a classifier's run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from xrnn.jobs import settings
from xrnn.jobs.errors import SettingsError

_MOST_NOISE: Final = 1000


@dataclass(frozen=True, slots=True)
class ClassifierSettings(settings.Settings):
    """Raises SettingsError for values that make no sense."""

    cell: str = "gru"
    hidden: int = 64
    layers: int = 1
    batch: int = 32  # series
    lr: float = 0.003  # see `trainer.learning_rate`
    seed: int = 0
    one_way: bool = False  # else each layer runs in both directions
    dropout: float = 0.3  # of what one layer hands to the next, and of the mean over time
    noise: float = 0.3  # added to the values in training, in deviations of their channel

    def __post_init__(self) -> None:
        settings.Settings.__post_init__(self)  # super() knows the class from before `slots` made another of it
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"--dropout is {self.dropout}: expected a probability in [0, 1), such as 0.3")
        if not (math.isfinite(self.noise) and 0 <= self.noise <= _MOST_NOISE):
            raise SettingsError(f"--noise is {self.noise}: expected a number from 0 to {_MOST_NOISE}, such as 0.3")

    @property
    def model(self) -> str:
        way = "" if self.one_way else "bidirectional "
        return f"{self.layers} {way}{self.cell.upper()} layer{'s' * (self.layers > 1)} of {self.hidden}"

    @property
    def training(self) -> str:
        return f"batches of {self.batch}; dropout {self.dropout:g}, noise {self.noise:g}, lr {self.lr:g}"
