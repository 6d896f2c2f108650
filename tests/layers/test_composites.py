"""A Stack or Bidirectional gives the same results as its layers called one by one: values, gradients, states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from tests.drawn import draw_on
from tests.layers import by_hand
from tests.layers.by_hand import RAGGED, D, N, T, assert_same, draw_states, host, make, make_both, poison
from tests.needs import BOTH, DWEIGHTS, noted
from xrnn import RNN, Bidirectional, Stack
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


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@every_composite
def test_an_earlier_forward_by_its_cache(backend: Backend, name: str, dropout: float) -> None:
    layer = of(name, backend)
    if dropout:
        layer = Stack([layer, RNN.init(layer.output_size, 2, dtype="float64", backend=backend)], dropout=dropout, rng=0)
    x, dh = draw_on(backend, T, N, D), draw_on(backend, T, N, layer.output_size, seed=3)
    layer.forward(x)
    expected, cache = host(backend, *layer.backward(dh), layer.grads), layer.cache
    layer.forward(draw_on(backend, N, D))  # one step, with other masks
    layer(x)
    poison(layer)
    assert_same(host(backend, *layer.backward(dh, cache=cache), layer.grads), expected)


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


@every_composite
def test_parameters_by_name(backend: Backend, name: str) -> None:
    layer = of(name, backend)
    for param, named in zip(layer.params, layer.named_params.values(), strict=True):
        assert param is named
    deepest = {"Stack in a Stack": "0.0.Wx", "Bidirectional in a Stack": "0.0.Wx"}
    assert next(iter(layer.named_params)) == deepest.get(name, "0.Wx")
