"""Valid files of layers and checkpoints, which tests change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.forge import Forgery
from xrnn import GRU, LSTM, RNN, Adam, Cell, Linear, Recurrent, Stack, quantize
from xrnn.exchange.checkpoint import checkpoint_content
from xrnn.exchange.description import canonical, take_apart
from xrnn.exchange.files import described_content

D, H = 2, 3


class Scaled(Cell):
    """h' = tanh(scale · gain · z), with a trained gain: a user-defined cell with attributes."""

    params = ("gain",)
    draws = True
    direct = False

    def __init__(self, scale: float, note: str = "") -> None:
        self.scale, self.note = scale, note

    def initial_params(self, rng: np.random.Generator, H: int) -> list[Any]:
        return [np.ones(H)]

    def step(self, run: Any, at: Any) -> None:
        run.xp.tanh(self.scale * run.params[0] * at.z[0], out=at.after[0])


def layer_file(layer: Any) -> Forgery:
    description, arrays = take_apart(layer)
    return Forgery.of(described_content("layer", canonical(description), arrays, 2**16, ""))


def gru_and_leaky_rnn() -> Stack:
    leak = np.array([0.25, 0.5, 0.75, 1], "float32")
    options: dict[str, Any] = {"rng": 0, "backend": "numpy"}
    return Stack([GRU.init(D, H, **options), RNN.init(H, 4, nonlinearity="relu", leak=leak, **options)], dropout=0.5)


def stack_file() -> Forgery:
    return layer_file(gru_and_leaky_rnn())


def quantized_file() -> Forgery:
    layers: list[Any] = [LSTM.init(D, H, rng=0, backend="numpy"), gru_and_leaky_rnn().layers[1]]
    return layer_file(Stack([quantize(layer) for layer in layers]))


def cell_file(**changes: Any) -> Forgery:
    """A layer with a user-defined cell. `changes` replace entries of its description."""
    forgery = layer_file(Recurrent.init(Scaled(0.5), D, H, seed=0, rng=0, backend="numpy"))
    forgery.metadata["layer"] = json.dumps(json.loads(forgery.metadata["layer"]) | changes)
    return forgery


def checkpoint_file() -> Forgery:
    linear = Linear.init(2, 3, rng=0, backend="numpy")
    optimizer = Adam([linear])
    optimizer.step()
    extra = {"epoch": 6, "states": (np.arange(4),)}
    return Forgery.of(checkpoint_content({"readout": linear}, optimizer, extra))
