"""Layers with random weights, inputs for them and their results, and files of layers: for the tests of all formats."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np

import xrnn
from tests.safetensors_bytes import Forgery
from xrnn import GRU, LRU, LSTM, RNN, SLSTM, Adam, Bidirectional, Cell, Linear, MinGRU, MinLSTM, Stack, to_numpy
from xrnn.exchange.checkpoint import checkpoint_content
from xrnn.exchange.description import canonical, take_apart
from xrnn.exchange.files import described_content

D, H = 3, 5
ROUNDING: Any = {"rtol": 2e-6, "atol": 2e-6}
ONE_WAY: dict[str, Any] = {
    "tanh": lambda **o: RNN.init(D, H, **o),
    "relu": lambda **o: RNN.init(D, H, nonlinearity="relu", **o),
    "softplus": lambda **o: RNN.init(D, H, nonlinearity="softplus", **o),
    "lstm": lambda **o: LSTM.init(D, H, **o),
    "gru": lambda **o: GRU.init(D, H, **o),
    "gru, reset before": lambda **o: GRU.init(D, H, reset_after=False, **o),
}
# Layers that only xrnn and its C files have.
XRNN_ONLY: dict[str, Any] = {
    f"{kind.__name__}, {candidate}": partial(kind.init, D, H, candidate=candidate)
    for kind in (MinGRU, MinLSTM)
    for candidate in ("linear", "positive")
} | {
    **{f"SLSTM, {gate}": partial(SLSTM.init, D, H, forget_gate=gate) for gate in ("exp", "sigmoid")},
    "LRU": partial(LRU.init, D, H),
    "trained leak": partial(RNN.init, D, H, leak=0.3, trains_leak=True),
}
BOTH_WAYS: dict[str, Any] = {
    "bidirectional": lambda **o: Bidirectional.init(GRU, D, H, **o),
    "unequal directions": lambda **o: Bidirectional(RNN.init(D, H, **o), LSTM.init(D, 2, reverse=True, **o)),
}
SHARED = ONE_WAY | BOTH_WAYS  # layers that all formats but C hold


def drawn(layer: Any, seed: int = 7) -> Any:
    rng = np.random.default_rng(seed)
    for param in layer.params:
        param[...] = rng.standard_normal(param.shape) * 0.5
    return layer


def x_of(*shape: int, dtype: Any = "float32") -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def leaves(layer: Any) -> list[Any]:
    """The layers of one direction, in their order."""
    return [leaf for part in layer.layers for leaf in leaves(part)] if hasattr(layer, "layers") else [layer]


def nested(layer: Any, states: list[Any]) -> Any:
    """States, taken from the front of the list, in the form that the layer expects."""
    if hasattr(layer, "layers"):
        return tuple(nested(part, states) for part in layer.layers)
    return tuple(states.pop(0) for _ in layer.cell.states) if hasattr(layer, "cell") else ()


def flat(states: Any) -> list[Any]:
    return [each for state in states for each in flat(state)] if isinstance(states, tuple) else [states]


def results(layer: Any, x: Any, lengths: Any = None, states: Any = None) -> tuple[Any, list[Any]]:
    composite = layer if hasattr(layer, "layers") else Stack([layer])
    given = None if states is None else nested(composite, [*states])
    h, final = composite(np.ascontiguousarray(x), given, lengths=lengths)
    return h, flat(final)


def assert_alike(got: Any, want: Any) -> None:
    """The same kind, options and counters, and every array bit for bit."""
    (got_description, got_arrays), (want_description, want_arrays) = take_apart(got), take_apart(want)
    assert canonical(got_description) == canonical(want_description)
    assert got_arrays.keys() == want_arrays.keys()
    for name, array in want_arrays.items():
        assert got_arrays[name].dtype == array.dtype, name
        np.testing.assert_array_equal(to_numpy(got_arrays[name]), to_numpy(array), err_msg=name, strict=True)


# ---- valid files, which tests change ----


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
    return Stack([GRU.init(2, 3, **options), RNN.init(3, 4, nonlinearity="relu", leak=leak, **options)], dropout=0.5)


def stack_file() -> Forgery:
    return layer_file(gru_and_leaky_rnn())


def quantized_file() -> Forgery:
    layers: list[Any] = [LSTM.init(2, 3, rng=0, backend="numpy"), gru_and_leaky_rnn().layers[1]]
    return layer_file(Stack([xrnn.quantize(layer) for layer in layers]))


def cell_file(**changes: Any) -> Forgery:
    """A layer with a user-defined cell. `changes` replace entries of its description."""
    forgery = layer_file(xrnn.Recurrent.init(Scaled(0.5), 2, 3, seed=0, rng=0, backend="numpy"))
    forgery.metadata["layer"] = json.dumps(json.loads(forgery.metadata["layer"]) | changes)
    return forgery


def checkpoint_file() -> Forgery:
    linear = Linear.init(2, 3, rng=0, backend="numpy")
    optimizer = Adam([linear])
    optimizer.step()
    extra = {"epoch": 6, "states": (np.arange(4),)}
    return Forgery.of(checkpoint_content({"readout": linear}, optimizer, extra))
