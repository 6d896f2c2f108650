"""The arrays in the checkpoints of all jobs on series."""

from __future__ import annotations

from typing import Any

from xrnn.files import Spec, quoted
from xrnn.jobs.checkpoint import common_specs
from xrnn.jobs.errors import SettingsError
from xrnn.jobs.series.model import SeriesModel
from xrnn.jobs.series.read import MOST_CHANNELS


def series_specs(settings: Any, channels: int, outputs: int, step: int) -> dict[str, Spec]:
    """The arrays of a snapshot after `step` updates of a run: see SeriesTrainer.snapshot."""
    shapes = SeriesModel.shapes(settings, settings.inputs(channels), outputs)
    scale = Spec((channels,), "float64")
    specs = common_specs(shapes, step) | {"scale.mean": scale, "scale.deviation": scale}
    if settings.patience:
        specs |= {f"best.{name}": Spec(shape) for name, shape in shapes.items()}
        specs["validation"] = Spec((step,), "float64")
    return specs


def check_channels_fact(channels: Any, names: Any) -> tuple[str, ...] | None:
    """Check the number of channels in a checkpoint, and their names, a list or None → the names.

    Raises SettingsError.
    """
    if not isinstance(channels, int) or isinstance(channels, bool) or not 1 <= channels <= MOST_CHANNELS:
        got = quoted(str(channels))
        raise SettingsError(f"channels is {got}: expected a whole number from 1 to {MOST_CHANNELS}")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) != channels:
        raise SettingsError(f"channel_names are not {channels} strings: expected one for each channel")
    return tuple(names)
