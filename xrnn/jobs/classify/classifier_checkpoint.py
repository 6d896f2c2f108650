"""The checkpoints of `xrnn classify`, and what `xrnn predict` makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from xrnn.files import Spec
from xrnn.jobs.checkpoint import Checkpoints, common_specs
from xrnn.jobs.classify.classifier_settings import ClassifierSettings
from xrnn.jobs.classify.model import Classifier
from xrnn.jobs.errors import SettingsError
from xrnn.jobs.series.read import MOST_CHANNELS
from xrnn.jobs.settings import parse_metadata


@dataclass(frozen=True, slots=True)
class Facts:
    """What the data decide about the model: D, and the labels in the order of its scores."""

    channels: int
    labels: tuple[str, ...]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `json.dumps(asdict(facts))` gave.   Raises SettingsError for anything else."""
        given = parse_metadata(text)
        channels, labels = given.get("channels"), given.get("labels")
        if given.keys() != {"channels", "labels"}:
            raise SettingsError("they have other names: expected channels, labels")
        if not isinstance(channels, int) or isinstance(channels, bool) or not 1 <= channels <= MOST_CHANNELS:
            raise SettingsError(f"channels is {channels}: expected a whole number from 1 to {MOST_CHANNELS}")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise SettingsError("labels is no list of strings: expected one")
        if len(set(labels)) < max(2, len(labels)):
            raise SettingsError("labels holds fewer than two, or one twice: expected different ones")
        return cls(channels, tuple(labels))


def specs(settings: ClassifierSettings, facts: Facts, step: int) -> dict[str, Spec]:
    """What a snapshot holds at that step of a run: `scale.*` as well, see `Scale`."""
    scale = Spec((facts.channels,), "float64")
    shapes = Classifier.shapes(settings, facts.channels, len(facts.labels))
    return common_specs(shapes, step) | {"scale.mean": scale, "scale.deviation": scale}


CLASSIFIER_CHECKPOINTS: Final = Checkpoints(
    "xrnn series classifier", "xrnn classify", ClassifierSettings, specs, Facts.from_json
)
