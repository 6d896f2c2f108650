"""Layers with random weights, inputs for them, and their results: for the tests of all formats."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from xrnn import GRU, LRU, LSTM, RNN, SLSTM, Bidirectional, MinGRU, MinLSTM, Stack, to_numpy
from xrnn.exchange.description import canonical, take_apart

D, H = 3, 5
ROUNDING: Any = {"rtol": 2e-6, "atol": 2e-6}
ONE_WAY: dict[str, Any] = {
    "tanh": lambda **o: RNN.init(D, H, **o),
    "relu": lambda **o: RNN.init(D, H, nonlinearity="relu", **o),
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
