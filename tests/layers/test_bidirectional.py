"""A Bidirectional: ragged rows, initial weights, updates, errors. test_composites.py has its values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.drawn import draw_on
from tests.errors import refused
from tests.layers.by_hand import D, N, T, assert_same, host
from tests.layers.by_hand import make_both as make
from xrnn import GRU, LSTM, RNN, Bidirectional, Linear, Stack
from xrnn.backend import Backend


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_init(backend: Backend, kind: Any) -> None:
    both = Bidirectional.init(kind, D, 5, rng=7, dtype="float64", backend=backend)
    layers: Any = both.layers
    ahead, back = layers
    assert (ahead.reverse, back.reverse) == (False, True)
    rng = np.random.default_rng(7)
    twins = [kind.init(D, 5, rng=rng, dtype="float64", backend="numpy") for _ in range(2)]
    assert_same(host(backend, both.params), [p for twin in twins for p in twin.params])
    assert list(both.named_params) == ["0.Wx", "0.Wh", "0.b", "1.Wx", "1.Wh", "1.b"]
    relu: Any = Bidirectional.init(RNN, D, 5, nonlinearity="relu", leak=0.5, backend=backend)
    assert [layer.cell.name for layer in relu.layers] == ["leaky_rnn"] * 2


# ---- bad input ----


def test_layers_that_do_not_fit(backend: Backend) -> None:
    ahead, back = make(backend)
    other, linear = GRU.init(D + 1, 2, reverse=True, dtype="float64", backend=backend), Linear.init(D, 2)
    refused(
        (ValueError, lambda: Bidirectional(back, ahead), "forward is a GRU with reverse=True"),
        (ValueError, lambda: Bidirectional(ahead, make(backend)[0]), "backward is a LSTM with reverse=False"),
        (ValueError, lambda: Bidirectional(ahead, other), "forward takes 4 features, but backward takes 5"),
        (ValueError, lambda: Bidirectional(Stack([ahead]), back), "forward is a Stack"),
        (TypeError, lambda: Bidirectional(linear, back), "layers[0] is a xrnn.layers.linear.Linear"),  # type: ignore[arg-type]
    )


def test_sizes_are_compared_by_value(backend: Backend) -> None:
    """`is` would be wrong: equal integers above 256 may be different objects."""
    both = Bidirectional(RNN.init(300, 2, backend=backend), GRU.init(300, 2, reverse=True, backend=backend))
    assert both.input_size == 300


def test_calls_that_do_not_fit(backend: Backend) -> None:
    both, x = Bidirectional(*make(backend)), draw_on(backend, T, N, D)
    assert not both.streams
    h, states = both.forward(x)
    own = "cache is not of this Bidirectional", "take layer.cache after its forward"
    caches: list[Any] = [[], both.cache[:1], [*both.cache, both.cache[0]], [both.cache[0], None]]
    refused(
        *((ValueError, lambda cache=cache: both.backward(h, cache=cache), *own) for cache in caches),
        (ValueError, lambda: both.stream(x), "a Bidirectional has a layer that runs in reverse", "layers[0]"),
        (ValueError, lambda: both.forward(x, states[:1]), "states has 1 entries"),
        (ValueError, lambda: both.forward(x, (states[0], states[0][:1])), "h_prev has shape (3, 5)", "expects (3, 2)"),
        (ValueError, lambda: both.backward(h[..., :6]), "dh has shape (5, 3, 6), but this Bidirectional expects 7"),
        (ValueError, lambda: both.backward(h[1:]), "dh has shape (4, 3, 5), but this LSTM expects (5, 3, 5)"),
    )
