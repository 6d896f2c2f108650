"""The settings of a classifier of series."""

from __future__ import annotations

from dataclasses import dataclass

from xrnn.models.labelled.settings import SeriesSettings
from xrnn.models.settings import switch


@dataclass(frozen=True, slots=True)
class ClassifierSettings(SeriesSettings):
    """Raises SettingsError for invalid values."""

    balance: bool = switch("Give all labels the same total weight in the loss, so that rare ones count as much.")
