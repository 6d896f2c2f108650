"""A Stack or Bidirectional gives the same results as its layers called one by one; errors of a Bidirectional."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from tests.drawn import draw_on
from tests.errors import refused
from tests.layers import by_hand
from tests.layers.by_hand import RAGGED, D, N, T, assert_same, draw_states, host, make, make_both, poison
from tests.needs import BOTH, DWEIGHTS, noted
from xrnn import GRU, RNN, Bidirectional, Linear, Stack
from xrnn.backend import Backend


def nested(backend: Backend) -> Stack:
    first, second, *others = make(backend)
    return Stack([Stack([first, second]), *others])


def both_in_a_stack(backend: Backend) -> Stack:
    both = Bidirectional(*make_both(backend))
    return Stack([both, RNN.init(7, 3, rng=1, dtype="float64", backend=backend)])


# The composite, and the gradients that its innermost layers are asked for if x is data, from the last to the first.
COMPOSITES: Final[dict[str, tuple[Callable[[Backend], Any], list[frozenset[str]]]]] = {
    "Stack": (lambda backend: Stack(make(backend)), [BOTH, BOTH, BOTH, DWEIGHTS]),
    "Bidirectional": (lambda backend: Bidirectional(*make_both(backend)), [DWEIGHTS, DWEIGHTS]),
    "Stack in a Stack": (nested, [BOTH, BOTH, BOTH, DWEIGHTS]),
    "Bidirectional in a Stack": (both_in_a_stack, [BOTH, DWEIGHTS, DWEIGHTS]),
}
every_composite = pytest.mark.parametrize("name", COMPOSITES)


def of(name: str, backend: Backend) -> Any:
    return COMPOSITES[name][0](backend)


@every_composite
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("lengths", [None, RAGGED])
@pytest.mark.parametrize("shape", [(T, N, D), (1, N, D), (N, D), (0, N, D)], ids=str)
def test_it_equals_its_layers_one_by_one(backend: Backend, name: str, shape: tuple[int, ...], lengths: Any) -> None:
    if lengths is not None:
        if len(shape) == 2:
            return  # a single step has no lengths
        lengths = np.minimum(lengths, shape[0])
    layer, twin = of(name, backend), of(name, backend)
    x, dh = draw_on(backend, *shape), draw_on(backend, *shape[:-1], layer.output_size, seed=3)
    states, dstates = draw_states(backend, layer), draw_states(backend, layer, seed=100)

    expected = host(backend, *by_hand.forward(twin, x, states, lengths))
    assert_same(host(backend, *layer.forward(x, states, lengths=lengths)), expected)
    assert_same(host(backend, *layer(x, states, lengths=lengths)), expected)
    poison(layer)
    found = host(backend, *layer.backward(dh, dstates), layer.grads)
    assert_same(found, host(backend, *by_hand.backward(twin, dh, dstates), twin.grads))
    assert found[0].shape == x.shape


@every_composite
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("steps", [T, 0])
def test_an_input_that_is_data_needs_no_gradient(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, name: str, steps: int
) -> None:
    """Only the first layer leaves out dx. The other layers need it for the layer before them."""
    layer = of(name, backend)
    x, dh = draw_on(backend, steps, N, D), draw_on(backend, steps, N, layer.output_size, seed=3)
    dstates = draw_states(backend, layer, seed=100)
    layer.forward(x)
    _, *expected = host(backend, *layer.backward(dh, dstates), layer.grads)
    asked = noted(monkeypatch, backend)
    poison(layer)
    dx, dinitial = layer.backward(dh, dstates, needs_dx=False)
    assert dx is None
    assert asked == COMPOSITES[name][1]
    assert_same(host(backend, dinitial, layer.grads), expected)


# ---- bad input ----


def test_layers_that_do_not_fit(backend: Backend) -> None:
    ahead, back = make_both(backend)
    other, linear = GRU.init(D + 1, 2, reverse=True, dtype="float64", backend=backend), Linear.init(D, 2)
    refused(
        (ValueError, lambda: Bidirectional(back, ahead), "forward is a GRU with reverse=True"),
        (ValueError, lambda: Bidirectional(ahead, make_both(backend)[0]), "backward is a LSTM with reverse=False"),
        (ValueError, lambda: Bidirectional(ahead, other), "forward takes 4 features, but backward takes 5"),
        (ValueError, lambda: Bidirectional(Stack([ahead]), back), "forward is a Stack"),
        (TypeError, lambda: Bidirectional(linear, back), "layers[0] is a xrnn.layers.linear.Linear"),  # type: ignore[arg-type]
    )


def test_sizes_are_compared_by_value(backend: Backend) -> None:
    """`is` would be wrong: equal integers above 256 may be different objects."""
    both = Bidirectional(RNN.init(300, 2, backend=backend), GRU.init(300, 2, reverse=True, backend=backend))
    assert both.input_size == 300


def test_calls_that_do_not_fit(backend: Backend) -> None:
    both, x = Bidirectional(*make_both(backend)), draw_on(backend, T, N, D)
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
