"""The content of the checkpoints of all jobs on series."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from xrnn.files import quoted
from xrnn.models.checkpoint import Spec
from xrnn.models.data.read import MOST_CHANNELS
from xrnn.models.errors import SettingsError
from xrnn.models.labelled.model import SeriesModel
from xrnn.select import get_backend


def like(settings: Any, step: int) -> dict[str, Any]:
    """See `Checkpoints`."""
    model = SeriesModel.init(replace(settings, hidden=1), 1, 1, get_backend("numpy"))
    best = {f"best.{name}": copy.deepcopy(layer) for name, layer in model.layers.items()} if settings.patience else {}
    model.start_at(step)
    return model.layers | best


def specs(settings: Any, facts: Any, step: int) -> dict[str, Spec]:
    """The arrays of a snapshot after `step` updates of a run: see SeriesTrainer.snapshot."""
    of_steps, of_channels = ((step,), "float64"), ((facts.channels,), "float64")
    specs: dict[str, Spec] = {"losses": of_steps, "scale.mean": of_channels, "scale.deviation": of_channels}
    if settings.patience:
        specs["validation"] = of_steps
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
