"""The settings of a classifier of series."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from xrnn.jobs.settings import Settings, setting, size

_MAX_NOISE: Final = 1000


@dataclass(frozen=True, slots=True)
class ClassifierSettings(Settings):
    """Raises SettingsError for invalid values."""

    hidden: int = size(64, "Size of the hidden state in each direction, H.")
    batch: int = size(32, "Series per update.")
    one_way: bool = setting(
        False, "Run forward only, which `xrnn predict --stream` needs.", "true or false", lambda value: True
    )
    dropout: float = setting(
        0.3,
        "Dropout probability, between layers and after the mean over time.",
        "a probability in [0, 1), such as 0.3",
        lambda value: 0 <= value < 1,
    )
    noise: float = setting(
        0.3,
        "Noise added to the training series, in standard deviations of each channel.",
        f"a number from 0 to {_MAX_NOISE}, such as 0.3",
        lambda value: math.isfinite(value) and 0 <= value <= _MAX_NOISE,
    )

    @property
    def model(self) -> str:
        way = "" if self.one_way else "bidirectional "
        return f"{self.layers} {way}{self.cell.upper()} layer{'s' * (self.layers > 1)} of {self.hidden}"

    @property
    def training(self) -> str:
        return f"batches of {self.batch}; dropout {self.dropout:g}, noise {self.noise:g}, lr {self.lr:g}"
