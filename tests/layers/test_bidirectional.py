"""A Bidirectional: ragged rows, initial weights, updates, errors. test_composites.py has its values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.drawn import draw_on
from tests.errors import one_line, refused
from tests.layers.by_hand import RAGGED, D, N, T, assert_same, host
from tests.layers.by_hand import make_both as make
from xrnn import GRU, LSTM, RNN, Bidirectional, Linear, Stack
from xrnn.backend import Backend


def test_the_backward_layer_starts_each_row_at_its_own_end(backend: Backend) -> None:
    ahead, back = make(backend)
    both, x = Bidirectional(ahead, back), draw_on(backend, T, N, D)
    h = backend.to_numpy(both(x, lengths=RAGGED)[0])
    for row, length in enumerate(RAGGED):
        alone = backend.to_numpy(both(x[:length, row : row + 1].copy())[0])
        assert_same([h[:length, row]], [alone[:, 0]], atol=1e-13)
        x[length:, row] = np.nan  # x past the length of a row is not read
    assert_array_equal(backend.to_numpy(both(x, lengths=RAGGED)[0]), h)


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


def test_directions_and_sizes_that_do_not_fit(backend: Backend) -> None:
    ahead, back = make(backend)
    other = GRU.init(D + 1, 2, reverse=True, dtype="float64", backend=backend)
    refused(
        (ValueError, lambda: Bidirectional(back, ahead), "forward is a GRU with reverse=True"),
        (ValueError, lambda: Bidirectional(ahead, make(backend)[0]), "backward is a LSTM with reverse=False"),
        (ValueError, lambda: Bidirectional(ahead, other), "forward takes 4 features, but backward takes 5"),
        (ValueError, lambda: Bidirectional(Stack([ahead]), back), "forward is a Stack"),
    )
    with one_line(TypeError, "layers[0] is a xrnn.layers.linear.Linear", "expected a recurrent layer"):
        Bidirectional(Linear.init(D, 2, backend=backend), back)  # type: ignore[arg-type]


def test_sizes_are_compared_by_value(backend: Backend) -> None:
    """`is` would be wrong: equal integers above 256 may be different objects."""
    both = Bidirectional(RNN.init(300, 2, backend=backend), GRU.init(300, 2, reverse=True, backend=backend))
    assert both.input_size == 300


def test_caches_of_other_layers(backend: Backend) -> None:
    both, x = Bidirectional(*make(backend)), draw_on(backend, T, N, D)
    h, _ = both.forward(x)
    for cache in ([], both.cache[:1], [*both.cache, both.cache[0]], [both.cache[0], None]):
        with one_line(ValueError, "cache is not of this Bidirectional", "take layer.cache after its forward"):
            both.backward(h, cache=cache)


def test_a_stream(backend: Backend) -> None:
    both, x = Bidirectional(*make(backend)), draw_on(backend, T, N, D)
    with one_line(ValueError, "a Bidirectional has a layer that runs in reverse", "expected layers that run forward"):
        both.stream(x)
    assert not both.streams


def test_states_and_gradients_of_another_shape(backend: Backend) -> None:
    both, x = Bidirectional(*make(backend)), draw_on(backend, T, N, D)
    h, states = both.forward(x)
    with one_line(ValueError, "states has 1 entries"):
        both.forward(x, states[:1])
    with one_line(ValueError, "h_prev has shape (3, 5), but this GRU expects (3, 2)", "N as in x, H as in Wh"):
        both.forward(x, (states[0], states[0][:1]))
    with one_line(ValueError, "dh has shape (5, 3, 6), but this Bidirectional expects 7 features"):
        both.backward(h[..., :6])
    refused(
        (ValueError, lambda: both.backward(h[1:]), "dh has shape (4, 3, 5), but this LSTM expects (5, 3, 5)"),
        (TypeError, lambda: both.backward(None), "dh is a NoneType", "expected an array of"),  # type: ignore[arg-type]
        (RuntimeError, lambda: Bidirectional(*make(backend)).backward(h), "backward needs a forward before it"),
    )
