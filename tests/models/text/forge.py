"""Handmade checkpoints: a valid one, to be changed into invalid ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests import forge
from tests.forge import Tensor

V, E, H, N = 256, 64, 3, 2
SETTINGS = {"cell": "rnn", "hidden": H, "layers": 1, "batch": N, "lr": 0.01, "seed": 0, "seq_len": 4}


@dataclass
class Forgery(forge.Forgery):
    """A valid checkpoint of a small model, to be changed and written.

    settings, step   as the file holds them
    metadata         in place of what it would hold
    """

    settings: Any = field(default_factory=lambda: dict(SETTINGS))
    step: Any = 2
    extra: dict[str, Any] = field(default_factory=dict)  # other entries of `extra`

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        shapes = {"layers.0.W": (V, E), "layers.1.0.Wx": (E, H), "layers.1.0.Wh": (H, H), "layers.1.0.b": (H,)}
        shapes |= {"layers.2.W": (H, V), "layers.2.b": (V,)}
        arrays = {name: rng.random(shape, "float32") for name, shape in shapes.items()}
        for moment in "mv":
            arrays |= {f"optimizer.0.{moment}.{k}": rng.random(s, "float32") for k, s in enumerate(shapes.values())}
        arrays |= {"extra.0": np.array([8.0, 7.5]), "extra.1": rng.random((N, H), "float32")}
        self.tensors = {name: Tensor.of(array) for name, array in arrays.items()}

    def whole_metadata(self) -> dict[str, str]:
        rnn = {"kind": "RNN", "options": {"nonlinearity": "tanh", "leak": None, "reverse": False}}
        adam = {"lr": 0.01, "weight_decay": 0.0, "betas": [0.9, 0.999], "eps": 1e-08}
        settings = {"dict": self.settings} if isinstance(self.settings, dict) else self.settings
        arrays = {"losses": {"array": "extra.0", "host": True}, "state.0": {"array": "extra.1", "host": True}}
        extra = {"job": "xrnn character model", "settings": settings, "fingerprint": "f", "arrays": {"dict": arrays}}
        description = {
            "layers": [
                ["embedding", {"kind": "Embedding", "options": {}}],
                ["stack", {"kind": "Stack", "layers": [rnn], "dropout": []}],
                ["linear", {"kind": "Linear", "options": {}}],
            ],
            "optimizers": [
                ["", {"kind": "Adam", "layers": ["embedding", "stack", "linear"], "options": adam, "count": self.step}]
            ],
            "several": False,
            "extra": {"dict": extra | self.extra},
        }
        return {"format": "xrnn checkpoint", "version": "1", "checkpoint": json.dumps(description)} | self.metadata
