"""The settings of a regression on series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xrnn.models.labelled.settings import SeriesSettings


@dataclass(frozen=True, slots=True)
class RegressionSettings(SeriesSettings):
    """Raises SettingsError for invalid values."""

    targets: ClassVar[bool] = True
