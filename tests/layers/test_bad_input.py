"""For any wrong argument to a recurrent layer, the error comes from xrnn, in one line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xrnn
from tests.test_bad_input import JUNK
from xrnn import GRU, LSTM, RNN, SGD, Bidirectional, Recurrent, Stack
from xrnn.backend import Backend
from xrnn.ops.cells.lstm import LSTMCell

T, N, D, H = 3, 4, 2, 5
PACKAGE = Path(xrnn.__file__).parent
# Valid arguments of some calls: None for an optional argument, a number for a leak.
VALID = {"None": ("_prev)", "lengths", "states", "leak", "dc)"), "a scalar": ("leak",)}


def entry_points(backend: Backend) -> dict[str, Callable[[Any], object]]:
    """All functions with array arguments: each takes one wrong argument, the others are valid."""
    options: dict[str, Any] = {"rng": 0, "dtype": "float64", "backend": backend}
    x, state = backend.xp.zeros((T, N, D)), backend.xp.zeros((N, H))
    rnn, lstm = RNN.init(D, H, **options), LSTM.init(D, H, **options)
    Wx, Wh, b = lstm.params
    layers: dict[str, Any] = {
        "LSTM": lstm,
        "GRU": GRU.init(D, H, **options),
        "Recurrent": Recurrent.init(LSTMCell(), D, H, **options),
        "Bidirectional": Bidirectional.init(LSTM, D, H, **options),
        "Stack": Stack.init(GRU, D, H, 2, dropout=0.5, **options),
    }
    calls: dict[str, Callable[[Any], object]] = {
        "RNN(leak)": lambda junk: RNN(*rnn.params, leak=junk),
        "LSTM(Wx)": lambda junk: LSTM(junk, Wh, b),
        "LSTM(Wh)": lambda junk: LSTM(Wx, junk, b),
        "LSTM(b)": lambda junk: LSTM(Wx, Wh, junk),
        "GRU(Wh)": lambda junk: GRU(Wx, junk, b),
        "GRU(b)": lambda junk: GRU(Wx, Wh, junk),
        "LSTM.forward(h_prev)": lambda junk: lstm.forward(x, junk, state),
        "LSTM.forward(c_prev)": lambda junk: lstm.forward(x, state, junk),
        "LSTM.backward(dc)": lambda junk: lstm.backward(lstm.forward(x)[0], junk),
        "SGD(layers)": lambda junk: SGD([lstm, junk]),
        "Bidirectional(backward)": lambda junk: Bidirectional(lstm, junk),
        "Stack(layers)": lambda junk: Stack([lstm, junk]),
    }
    for name, layer in layers.items():
        calls |= arguments(name, layer, x)
    for name in ("Bidirectional", "Stack"):
        calls |= states_of(name, layers[name], x)
    return calls


def arguments(name: str, layer: Any, x: Any) -> dict[str, Callable[[Any], object]]:
    layer.forward(x)
    calls: dict[str, Callable[[Any], object]] = {
        f"{name}.forward(x)": lambda junk: layer.forward(junk),
        f"{name}.forward(x) with a list": lambda junk: layer.forward(junk, lengths=[1] * N),
        f"{name}(x)": lambda junk: layer(junk),
        f"{name}.forward(lengths)": lambda junk: layer.forward(x, lengths=junk),
        f"{name}.backward(dh)": lambda junk: layer.backward(junk),
    }
    if name != "Bidirectional":
        calls[f"{name}.stream(x)"] = lambda junk: layer.stream(junk)
        calls[f"{name}.stream(states)"] = lambda junk: layer.stream(x, junk)
    return calls


def states_of(name: str, layer: Any, x: Any) -> dict[str, Callable[[Any], object]]:
    h, states = layer.forward(x)
    return {
        f"{name}.forward(states)": lambda junk: layer.forward(x, junk),
        f"{name}.forward(states[1])": lambda junk: layer.forward(x, (states[0], junk)),
        f"{name}.backward(dstates)": lambda junk: layer.backward(h, junk),
        f"{name}.backward(dstates[1])": lambda junk: layer.backward(h, (states[0], junk)),
    }


@pytest.mark.parametrize("junk", JUNK)
def test_every_wrong_argument_is_refused_by_xrnn(backend: Backend, junk: str) -> None:
    for name, call in entry_points(backend).items():
        if any(part in name for part in VALID.get(junk, ())):
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            call(JUNK[junk](backend))
        message, raised_in = str(caught.value), Path(traceback.extract_tb(caught.tb)[-1].filename)
        assert raised_in.is_relative_to(PACKAGE), f"{name} of {junk}: raised in {raised_in}: {message}"
        assert re.search("expected|expects|use ", message), f"{name} of {junk}: {message}"
        assert "\n" not in message, name
