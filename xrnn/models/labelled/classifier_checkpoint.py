"""The checkpoints of `xrnn classify`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from xrnn.models.checkpoint import Checkpoints
from xrnn.models.errors import SettingsError
from xrnn.models.labelled.checkpoint import check_channels_fact, like, specs
from xrnn.models.labelled.classifier_settings import ClassifierSettings
from xrnn.models.labelled.model import SeriesModel
from xrnn.models.settings import parse_metadata

Label = str | int | float  # a label that a file can hold; an estimator with other labels can't be saved


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of the data that the model depends on."""

    channels: int  # D
    labels: tuple[Label, ...]  # in the order of the model's outputs; text if they come from a file
    channel_names: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `asdict` and JSON.   Raises SettingsError for any other value."""
        given = parse_metadata(value)
        channels, labels = given.get("channels"), given.get("labels")
        if given.keys() | {"channel_names"} != {"channels", "labels", "channel_names"}:
            raise SettingsError("they have other names: expected channels, labels, channel_names")
        names = check_channels_fact(channels, given.get("channel_names"))
        if not isinstance(labels, list) or not all(isinstance(label, Label) for label in labels):
            raise SettingsError("labels is not a list of strings or numbers: expected one")
        if len(set(labels)) < max(2, len(labels)):
            raise SettingsError("labels holds fewer than two, or one twice: expected at least two different labels")
        return cls(int(given["channels"]), tuple(labels), names)


CLASSIFIER_CHECKPOINTS: Final = Checkpoints(
    "xrnn series classifier",
    "xrnn classify",
    ClassifierSettings,
    like,
    lambda settings, facts: SeriesModel.shapes(settings, settings.inputs(facts.channels), len(facts.labels)),
    specs,
    Facts.from_json,
)
