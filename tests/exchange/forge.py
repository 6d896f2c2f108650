"""Files as the first version of xrnn wrote them. Tests change them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.forge import Forgery, Tensor
from xrnn import Cell

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


def stack_file() -> Forgery:
    """A Stack of a GRU and a leaky RNN."""
    rng = np.random.default_rng(0)
    shapes = {"0.Wx": (D, 3 * H), "0.Wh": (H, 3 * H), "0.b": (4 * H,), "1.Wx": (H, 4), "1.Wh": (4, 4), "1.b": (4,)}
    arrays = {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    arrays["1.leak"] = np.array([0.25, 0.5, 0.75, 1], "float32")
    description = {
        "kind": "Stack",
        "layers": [
            {"kind": "GRU", "options": {"reset_after": True, "reverse": False}},
            {"kind": "RNN", "options": {"leak": {"array": "1.leak"}, "nonlinearity": "relu", "reverse": False}},
        ],
        "dropout": [{"kind": "Dropout", "options": {"p": 0.5, "seed": 3, "layer": 0}, "step": 9}],
    }
    return Forgery(
        {name: Tensor.of(array) for name, array in arrays.items()},
        {"format": "xrnn layer", "version": "1", "layer": json.dumps(description)},
    )


def quantized_file() -> Forgery:
    """A Stack of a quantized LSTM and a quantized leaky RNN."""
    rng = np.random.default_rng(0)
    shapes = {"0.Wx": (D, 4 * H), "0.Wh": (H, 4 * H), "1.Wx": (H, 4), "1.Wh": (4, 4)}
    tensors = {name: Tensor.of(rng.integers(-127, 128, shape).astype("int8")) for name, shape in shapes.items()}
    for name, columns in {"0.Wx_scale": 4 * H, "0.Wh_scale": 4 * H, "0.b": 4 * H}.items():
        tensors[name] = Tensor.of(rng.random(columns).astype("float32"))
    for name in ("1.Wx_scale", "1.Wh_scale", "1.b", "1.leak"):
        tensors[name] = Tensor.of(np.array([0.25, 0.5, 0.75, 1], "float32"))
    leaky = {"leak": {"array": "1.leak"}, "nonlinearity": "relu", "reverse": False}
    layers = [
        {"kind": "LSTM", "options": {"reverse": False}, "store": "int8"},
        {"kind": "RNN", "options": leaky, "store": "int8"},
    ]
    description = {"kind": "Stack", "layers": layers, "dropout": []}
    return Forgery(tensors, {"format": "xrnn layer", "version": "1", "layer": json.dumps(description)})


def cell_file(**changes: Any) -> Forgery:
    """A layer with a user-defined cell. `changes` replace entries of its description."""
    shapes = {"Wx": (D, H), "Wh": (H, H), "b": (H,), "gain": (H,)}
    description = {
        "kind": "Recurrent",
        "cell": "Scaled",
        "attributes": {"scale": 0.5, "note": ""},
        "options": {"reverse": False, "seed": 0},
        "step": 0,
    } | changes
    return Forgery(
        {name: Tensor.of(np.ones(shape, "float32")) for name, shape in shapes.items()},
        {"format": "xrnn layer", "version": "1", "layer": json.dumps(description)},
    )


def checkpoint_file() -> Forgery:
    """A checkpoint of a Linear, its Adam and other values."""
    rng = np.random.default_rng(0)
    shapes = {"W": (2, 3), "b": (3,)}
    arrays = {f"layers.0.{name}": rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    for moment in "mv":
        for k, shape in enumerate(shapes.values()):
            arrays[f"optimizer.0.{moment}.{k}"] = rng.random(shape).astype("float32")
    arrays["extra.0"] = np.arange(4)
    options = {"lr": 0.001, "weight_decay": 0.0, "decay_biases": True, "betas": [0.9, 0.999], "eps": 1e-08}
    description = {
        "layers": [["readout", {"kind": "Linear", "options": {}}]],
        "optimizers": [["", {"kind": "Adam", "layers": ["readout"], "options": options, "count": 9}]],
        "several": False,
        "extra": {"dict": {"epoch": 6, "states": {"tuple": [{"array": "extra.0", "host": True}]}}},
    }
    return Forgery(
        {name: Tensor.of(array) for name, array in arrays.items()},
        {"format": "xrnn checkpoint", "version": "1", "checkpoint": json.dumps(description)},
    )
