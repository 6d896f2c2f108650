"""The checkpoints of `xrnn train`."""

from __future__ import annotations

from typing import Any, Final

from xrnn.files import Spec
from xrnn.jobs.charlm.charlm_settings import CharLMSettings
from xrnn.jobs.charlm.model import CharLM
from xrnn.jobs.checkpoint import Checkpoints, common_specs


def specs(settings: CharLMSettings, facts: Any, step: int) -> dict[str, Spec]:
    """The arrays of a snapshot at that step. `state.*` are the hidden states."""
    names = [name for of_layer in CharLM.state_names(settings.cell, settings.layers) for name in of_layer]
    states = {f"state.{name}": Spec((settings.batch, settings.hidden)) for name in names}
    return common_specs(CharLM.shapes(settings.cell, settings.hidden, settings.layers), step) | states


CHARLM_CHECKPOINTS: Final = Checkpoints("xrnn character model", "xrnn train", CharLMSettings, specs)
