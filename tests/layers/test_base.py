"""The features of every layer: its repr, parameters by name, calls, copies, and errors for replaced parameters."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import standin
from tests.errors import one_line
from tests.layers.kinds import KINDS, SIMPLE, WITHOUT_DROPOUT, assert_same, first, host, made, poison
from xrnn import GRU, LSTM, SGD, Adam, Bidirectional, Dropout, Embedding, Linear, Recurrent, Stack, freeze, quantize
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import HostArray


def test_repr(backend: Backend) -> None:
    lstm = LSTM.init(3, 8, backend=backend)
    shown = f"LSTM(3 → 8, 384 parameters, float32, {backend.name})"
    assert repr(lstm) == shown
    assert repr(Linear.init(30, 50, dtype="float64", backend=backend)) == (
        f"Linear(30 → 50, 1,550 parameters, float64, {backend.name})"
    )
    expected = f"frozen {shown}" if backend.name == "numpy" else shown
    assert repr(freeze(LSTM.init(3, 8, backend=backend))) == expected
    assert repr(Embedding.init(10, 3, backend=backend)) == f"Embedding(10 → 3, 30 parameters, float32, {backend.name})"
    assert repr(Dropout(0.5, seed=3)) == "Dropout(0.5, seed=3, layer=0)"
    assert repr(Stack([lstm, LSTM.init(8, 2, backend=backend)])).startswith(f"Stack({shown}, LSTM(8 → 2, ")
    halves = Bidirectional.init(GRU, 3, 8, backend=backend)
    assert repr(halves) == f"Bidirectional({halves.layers[0]!r}, {halves.layers[1]!r})"


def test_parameters_by_name(backend: Backend) -> None:
    linear = Linear.init(2, 3, rng=0, backend=backend)
    assert linear.W is linear.params[0]
    assert linear.b is linear.params[1]
    linear.W -= 1  # in place: the same array is assigned
    assert linear.W is linear.params[0]
    for make in (freeze, quantize):
        fixed = make(GRU.init(3, 4, backend="numpy"))
        with one_line(AttributeError, f"Wx of this {fixed.title} can't be changed", "then make it again"):
            fixed.Wx = fixed.Wx.copy()
    with one_line(AttributeError, "W of this Linear can't be replaced", "use layer.W[...] = …"):
        linear.W = linear.W + 1
    for layer in (LSTM.init(2, 3, backend=backend), Recurrent.init(LSTMCell(), 2, 3, backend=backend)):
        assert [layer.Wx, layer.Wh, layer.b] == layer.params
    for again in copies(linear):
        assert_array_equal(backend.to_numpy(again.W), backend.to_numpy(linear.W))
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'Wx'"):
        linear.Wx  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("kind", [kind for kind in WITHOUT_DROPOUT if kind != "Embedding"])
def test_a_layer_that_is_not_trained_gives_dx_only(backend: Backend, kind: str) -> None:
    layer, x = made(kind, backend)

    def backward(needs_dx: bool = True) -> Any:
        return first(layer.backward(first(layer.forward(x)), needs_dx=needs_dx))

    expected = backend.to_numpy(backward())
    grads = [backend.to_numpy(g).copy() for g in layer.grads]
    addresses = [id(g) for g in layer.grads]
    assert layer.needs_grads
    layer.needs_grads = False
    assert not layer.needs_grads
    assert_allclose(backend.to_numpy(backward()), expected, rtol=1e-12, atol=1e-14)
    assert backward(needs_dx=False) is None
    assert all((backend.to_numpy(g) == 0).all() for g in layer.grads)
    with one_line(ValueError, f"{type(layer).__name__} with needs_grads=False: expected layers that are trained"):
        SGD([layer])
    for again in copies(layer):
        assert not again.needs_grads
    layer.needs_grads = True
    backward()
    assert [id(g) for g in layer.grads] == addresses
    assert_same(host(backend, layer.grads), grads)
    with one_line(TypeError, "needs_grads is 0: expected True or False"):
        layer.needs_grads = 0


def test_an_embedding_and_a_part_of_a_stack_that_are_not_trained(backend: Backend) -> None:
    embedding = Embedding.init(5, 3, rng=0, backend=backend)
    stack = Stack.init(GRU, 3, 4, 2, rng=0, backend=backend)
    embedding.needs_grads = stack.layers[0].needs_grads = False
    h, _ = stack.forward(embedding.forward(backend.asarray(np.array([[1, 2], [3, 1]]))))
    dx, _ = stack.backward(h)
    embedding.backward(dx)
    zero = [bool((backend.to_numpy(g) == 0).all()) for g in (*embedding.grads, *stack.grads)]
    assert zero == [True, True, True, True, False, False, False]
    with one_line(ValueError, "Stack with needs_grads=False in a layer of it", "list its other layers instead"):
        SGD([stack])
    assert SGD([stack.layers[1]]).params == stack.params[3:]


@pytest.mark.parametrize("kind", SIMPLE)
def test_a_replaced_parameter_must_fit(backend: Backend, kind: str) -> None:
    xp, other = backend.xp, standin if backend.name == "numpy" else np
    layer, x = made(kind, backend, "float32")
    calls = [layer.forward, layer, *([layer.stream] if hasattr(layer, "stream") and layer.streams else [])]
    for k, name in enumerate(layer.names):
        param, shape = layer.params[k], layer.params[k].shape
        wrong: list[tuple[Any, type[Exception], str]] = [
            (xp.ones((*shape, 2), "float32"), ValueError, f"{name} has shape {(*shape, 2)}, but this {layer.title}"),
            (xp.ones(shape), TypeError, f"{name} has dtype float64, but this {layer.title} computes in float32"),
            (other.ones(shape, "float32"), TypeError, f"xrnn.asarray({name}, backend={backend.name!r}"),
            ([[1.0]], TypeError, f"{name} is a list: expected an array"),
        ]
        for call, (value, error, words) in itertools.product(calls, wrong):
            layer.params[k] = value
            with one_line(error, words):
                call(x)
        layer.params[k] = param.copy()
        layer.forward(x)
    layer.params[0][...] = 1
    layer.backward(first(layer.forward(x)))
    SGD([layer]).step()


@pytest.mark.parametrize("kind", WITHOUT_DROPOUT)
def test_a_call_gives_what_forward_gives_and_keeps_no_cache(backend: Backend, kind: str) -> None:
    layer, x = made(kind, backend)
    called = host(backend, layer(x))
    assert layer.cache is None
    with one_line(RuntimeError, "backward needs a forward before it: call forward("):
        layer.backward(first(layer(x)))
    results = layer.forward(x)
    assert_same(called, host(backend, results))
    expected, cache = host(backend, layer.backward(first(results)), layer.grads), layer.cache
    layer(x[:1])
    with pytest.raises((TypeError, ValueError)):
        layer.forward(None)
    assert layer.cache is cache
    assert_same(host(backend, layer.backward(first(results)), layer.grads), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_earlier_forward_by_its_cache(backend: Backend, kind: str) -> None:
    layer, x = made(kind, backend)
    dy = 0 * first(layer.forward(x)) + 1
    expected, cache = host(backend, layer.backward(dy), layer.grads), layer.cache
    layer.forward(x[0])  # one step, with other masks
    poison(layer)
    assert_same(host(backend, layer.backward(dy, cache=cache), layer.grads), expected)


def copies(value: Any) -> list[Any]:
    return [copy.deepcopy(value), pickle.loads(pickle.dumps(value))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_gives_the_same_results_as_the_layer(backend: Backend, kind: str) -> None:
    layer, x = made(kind, backend)
    dy = 0 * first(layer.forward(x)) + 1  # now the layer has a cache, which copies must not have
    layer.backward(dy)
    twins = copies(layer)
    for other in twins:
        assert other.cache is None
        assert list(other.named_params) == list(layer.named_params)
        for got, want in zip([*other.params, *other.grads], [*layer.params, *layer.grads], strict=True):
            assert got is not want
            assert backend.owns(got)
            assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))
    expected = host(backend, layer.forward(x), layer.backward(dy), layer.grads)
    for other in twins:
        assert_same(host(backend, other.forward(x), other.backward(dy), other.grads), expected)


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.2, momentum=0.5), Adam])
def test_copies_of_a_layer_and_its_optimizer_share_arrays(backend: Backend, optimizer: Callable[..., Any]) -> None:
    stack, x = made("Stack with dropout", backend)
    model = stack, optimizer([stack])

    def train(model: Any) -> list[HostArray]:
        stack, update = model
        stack.backward(stack.forward(x)[0])
        update.step()
        return host(backend, stack.params)

    train(model)
    twins = copies(model)
    for _ in range(2):
        expected = train(model)
        for other in twins:
            assert_same(train(other), expected)


@pytest.mark.parametrize("kind", WITHOUT_DROPOUT)
def test_new_layers_and_deep_copies_have_aligned_arrays(kind: str) -> None:
    """On the CPU. A kernel's load that crosses two lines of the cache takes longer."""
    layer, _ = made(kind, get_backend("numpy"))
    for each in (layer, copy.deepcopy(layer)):
        assert not any(array.ctypes.data % 64 for array in (*each.params, *each.grads))


def test_given_arrays_are_used_where_they_are_and_copies_share_theirs() -> None:
    W, b = np.zeros(13)[1:].reshape(3, 4), np.zeros(5)[1:]
    model = Linear(W, b), Linear(W, b + 1), [W]
    assert model[0].W is model[1].W is W
    for one, other, (copied,) in copies(model):
        assert one.W is other.W is copied
        assert copied is not W


def test_a_copy_of_a_backend_is_the_backend(backend: Backend) -> None:
    for same in (copy.copy(backend), *copies(backend)):
        assert same is backend
