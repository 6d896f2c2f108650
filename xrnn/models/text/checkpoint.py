"""The checkpoints of `xrnn train`."""

from __future__ import annotations

from typing import Any, Final

from xrnn import cells
from xrnn.layers.embedding import Embedding
from xrnn.layers.linear import Linear
from xrnn.layers.stack import Stack
from xrnn.models.checkpoint import Checkpoints, Spec
from xrnn.models.text.model import CharLM
from xrnn.models.text.settings import CharLMSettings
from xrnn.select import get_backend


def like(settings: CharLMSettings, step: int) -> dict[str, Any]:
    layer, backend = cells.CELLS[settings.cell], get_backend("numpy")
    stack = Stack.init(layer, 1, 1, settings.layers, backend=backend)
    return {
        "embedding": Embedding.init(1, 1, backend=backend),
        "stack": stack,
        "linear": Linear.init(1, 1, backend=backend),
    }


def specs(settings: CharLMSettings, facts: Any, step: int) -> dict[str, Spec]:
    """The losses, and the hidden states `state.*`."""
    names = [name for of_layer in CharLM.state_names(settings.cell, settings.layers) for name in of_layer]
    states = {f"state.{name}": ((settings.batch, settings.hidden), "float32") for name in names}
    return {"losses": ((step,), "float64"), **states}


CHARLM_CHECKPOINTS: Final = Checkpoints(
    "xrnn character model",
    "xrnn train",
    CharLMSettings,
    like,
    lambda settings, facts: CharLM.shapes(settings.cell, settings.hidden, settings.layers),
    specs,
)
