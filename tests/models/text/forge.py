"""Handmade checkpoints: one as the first version wrote it, to be changed into invalid ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests import forge
from tests.forge import Tensor

V, E, H, N = 256, 64, 3, 2


@dataclass
class Forgery(forge.Forgery):
    """A valid checkpoint of a small model, to be changed and written.

    metadata   in place of what it would hold
    """

    settings: Any = field(default_factory=lambda: {"hidden": H, "layers": 1, "seq_len": 4, "batch": N, "lr": 0.01})
    step: str = "2"

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        shapes = {"embedding.W": (V, E), "rnn0.Wx": (E, H), "rnn0.Wh": (H, H), "rnn0.b": (H,)}
        shapes |= {"linear.W": (H, V), "linear.b": (V,)}
        arrays = {
            f"{kind}.{name}": rng.random(shape, "float32")
            for kind in ("model", "adam.m", "adam.v")
            for name, shape in shapes.items()
        }
        arrays |= {"state.0": rng.random((N, H), "float32"), "losses": np.array([8.0, 7.5])}
        self.tensors = {name: Tensor.of(array) for name, array in arrays.items()}

    def whole_metadata(self) -> dict[str, str]:
        return {
            "format": "xrnn character model",
            "version": "1",
            "settings": self.settings if isinstance(self.settings, str) else json.dumps(self.settings),
            "fingerprint": "f",
            "step": self.step,
        } | self.metadata
