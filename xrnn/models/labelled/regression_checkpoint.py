"""The checkpoints of `xrnn regress`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Self

from xrnn.files import quoted
from xrnn.models.checkpoint import Checkpoints
from xrnn.models.errors import SettingsError
from xrnn.models.labelled.checkpoint import check_channels_fact, like, specs
from xrnn.models.labelled.model import SeriesModel
from xrnn.models.labelled.regression_settings import RegressionSettings
from xrnn.models.settings import parse_metadata


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of the data that the model depends on: target = mean + deviation · y, y the model's output."""

    channels: int  # D
    mean: float
    deviation: float
    channel_names: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `asdict` and JSON.   Raises SettingsError for any other value."""
        given = parse_metadata(value)
        if given.keys() != {"channels", "mean", "deviation", "channel_names"}:
            raise SettingsError("they have other names: expected channels, mean, deviation, channel_names")
        names = check_channels_fact(given["channels"], given["channel_names"])
        mean, deviation = _finite("mean", given["mean"]), _finite("deviation", given["deviation"])
        if deviation <= 0:
            raise SettingsError(f"deviation is {deviation}: expected a positive number")
        return cls(int(given["channels"]), mean, deviation, names)


def _finite(name: str, value: Any) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise SettingsError(f"{name} is {quoted(str(value))}: expected a finite number")
    return value


REGRESSION_CHECKPOINTS: Final = Checkpoints(
    "xrnn series regression",
    "xrnn regress",
    RegressionSettings,
    like,
    lambda settings, facts: SeriesModel.shapes(settings, settings.inputs(facts.channels), 1),
    specs,
    Facts.from_json,
)
