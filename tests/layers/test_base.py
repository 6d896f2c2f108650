"""The features of every layer: its repr, its parameters by name, and errors for replaced parameters."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import standin
from tests.errors import one_line
from tests.peephole.cell import PeepholeLSTMCell
from xrnn import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Bidirectional,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Recurrent,
    Stack,
    freeze,
    quantize,
)
from xrnn.backend import Backend
from xrnn.ops.cells.lstm import LSTMCell


def test_repr(backend: Backend) -> None:
    lstm = LSTM.init(3, 8, backend=backend)
    shown = f"LSTM(3 → 8, 384 parameters, float32, {backend.name})"
    assert repr(lstm) == shown
    assert repr(Linear.init(30, 50, dtype="float64", backend=backend)) == (
        f"Linear(30 → 50, 1,550 parameters, float64, {backend.name})"
    )
    assert repr(freeze(LSTM.init(3, 8, backend=backend))) == "frozen " * (backend.name == "numpy") + shown
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
    for again in (copy.deepcopy(linear), pickle.loads(pickle.dumps(linear))):
        assert_array_equal(backend.to_numpy(again.W), backend.to_numpy(linear.W))
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'Wx'"):
        linear.Wx  # type: ignore[attr-defined]  # noqa: B018


LAYERS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "RNN": (lambda **o: RNN.init(3, 4, **o), (5, 2, 3)),
    "LSTM": (lambda **o: LSTM.init(3, 4, **o), (5, 2, 3)),
    "GRU": (lambda **o: GRU.init(3, 4, **o), (5, 2, 3)),
    "own": (lambda **o: Recurrent.init(PeepholeLSTMCell(), 3, 4, **o), (5, 2, 3)),
    "Linear": (lambda **o: Linear.init(3, 4, **o), (5, 2, 3)),
    "LayerNorm": (lambda rng, **o: LayerNorm.init(3, **o), (5, 2, 3)),
    "Stack": (lambda **o: Stack.init(GRU, 3, 4, 2, **o), (5, 2, 3)),
    "Bidirectional": (lambda **o: Bidirectional.init(LSTM, 3, 4, **o), (5, 2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_is_not_trained_gives_dx_only(backend: Backend, name: str) -> None:
    make, shape = LAYERS[name]
    layer = make(rng=0, dtype="float64", backend=backend)
    x = backend.asarray(np.random.default_rng(0).standard_normal(shape))

    def backward(needs_dx: bool = True) -> Any:
        results = layer.forward(x)
        y = results[0] if isinstance(results, tuple) else results
        gradients = layer.backward(y, needs_dx=needs_dx)
        return gradients[0] if isinstance(gradients, tuple) else gradients

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
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not again.needs_grads
    layer.needs_grads = True
    backward()
    assert [id(g) for g in layer.grads] == addresses
    for got, want in zip(layer.grads, grads, strict=True):
        assert_array_equal(backend.to_numpy(got), want)
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


REPLACED: dict[str, tuple[Callable[..., Any], Sequence[str]]] = {
    "RNN": (RNN.init, ("forward", "__call__", "stream")),
    "LSTM": (LSTM.init, ("forward", "__call__", "stream")),
    "own": (partial(Recurrent.init, PeepholeLSTMCell()), ("forward", "__call__", "stream")),
    "Linear": (Linear.init, ("forward", "__call__")),
    "LayerNorm": (lambda D, H, rng, backend: LayerNorm.init(D, backend=backend), ("forward", "__call__")),
    "Embedding": (Embedding.init, ("forward", "__call__")),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_a_replaced_parameter_must_fit(backend: Backend, kind: str) -> None:
    make, calls = REPLACED[kind]
    xp, other = backend.xp, standin if backend.name == "numpy" else np
    x = xp.zeros((5, 4, 2), "int64" if kind == "Embedding" else "float32")
    layer = make(2, 3, rng=0, backend=backend)
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
                getattr(layer, call)(x)
        layer.params[k] = param.copy()
        layer.forward(x)
    layer.params[0][...] = 1
    y = layer.forward(x)
    layer.backward(y[0] if isinstance(y, tuple) else y)
    SGD([layer]).step()
