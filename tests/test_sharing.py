"""Layers on the same arrays: an update through one of them is noticed by all of them."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.layers.kinds import KINDS, first, made
from xrnn import EMA, RNN, SGD, Adam, Bidirectional, Embedding, Linear
from xrnn.backend import Backend
from xrnn.sharing import _users, refuse_shared

D, H = 2, 3
CHANGED = "have been updated since that forward"


@pytest.mark.parametrize("kind", [kind for kind in KINDS[:-1] if kind != "Embedding"])
def test_backward_after_an_update(backend: Backend, kind: str) -> None:
    """Through the layer itself, or through another one with the same arrays."""
    layer, x = made(kind, backend)
    words = CHANGED, "call backward before the update, or forward again"
    for count, each in enumerate((layer, copy.copy(layer)), start=1):
        dy = first(layer.forward(x))
        cache = layer.cache
        SGD([each]).step()
        assert layer.updates == count
        with one_line(RuntimeError, *words):
            layer.backward(dy)
        layer.backward(first(layer.forward(x)))
        with one_line(RuntimeError, *words):
            layer.backward(dy, cache=cache)


def test_one_shared_array_is_enough_and_a_view_counts(backend: Backend) -> None:
    first = Linear.init(D, H, rng=0, backend=backend)
    second = Linear(first.params[0][:], backend.xp.zeros(H, "float32"))
    y = first.forward(backend.xp.ones((4, D), "float32"))
    optimizer = SGD([second])
    third = Linear(*second.params)  # made after the optimizer
    third_y = third.forward(backend.xp.ones((4, D), "float32"))
    optimizer.step()
    for layer, dy in ((first, y), (third, third_y)):
        with one_line(RuntimeError, CHANGED):
            layer.backward(dy)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_an_optimizer_refuses_an_array_of_two_layers(backend: Backend, make: Callable[..., Any]) -> None:
    one, other = (RNN.init(D, H, rng=seed, backend=backend) for seed in (0, 1))
    embedding = Embedding.init(5, D, rng=0, backend=backend)
    tied = Linear(embedding.params[0].T, backend.xp.zeros(5, "float32"))
    remedy = "list one of the two layers, and add the gradients of the other"
    for layers, place in (
        ([one, other, RNN(*one.params)], "params[0] of layers[2]"),
        ([one, Bidirectional(other, RNN(*one.params, reverse=True))], "params[3] of layers[1]"),
        ([Bidirectional(one, RNN(*one.params, reverse=True))], "params[3] of layers[0]"),
        ([embedding, tied], "params[0] of layers[1]"),
    ):
        with one_line(ValueError, f"{place} is the same array as params[0] of layers[0], which each", remedy):
            make(layers)


def test_names_of_shared_arrays_need_no_order(backend: Backend) -> None:
    one = RNN.init(D, H, rng=0, backend=backend)
    with one_line(ValueError, "params[0] of layers['a'] is the same array as params[0] of layers['b'], problem"):
        refuse_shared({"b": one, "a": RNN(*one.params)}, "problem", "remedy")


@pytest.mark.parametrize("make", [SGD, EMA])
def test_arrays_that_overlap_in_part_are_refused(backend: Backend, make: Any) -> None:
    """Each update would change the shared part twice, and a checkpoint would hold it twice."""
    xp = backend.xp
    buffer, b = xp.zeros(3 * H, "float32"), [xp.zeros(H, "float32") for _ in range(2)]
    rows = [buffer[: 2 * H].reshape(2, H), buffer[H:].reshape(2, H)]
    words = "params[0] of layers[1] overlaps params[0] of layers[0] in memory, which", ": make one of the two from a"
    with one_line(ValueError, *words):
        make([Linear(W, each) for W, each in zip(rows, b, strict=True)])
    with one_line(ValueError, "params[1] of layers[0] overlaps params[0] of layers[0] in memory"):
        make([Linear(rows[0], buffer[1 : H + 1])])
    square = xp.zeros((2 * H, 2 * H), "float32")
    with one_line(ValueError, "params[0] of layers[1] overlaps params[0] of layers[0] in memory"):
        make([Linear(square[:, : H + 1], xp.zeros(H + 1, "float32")), Linear(square[1:, H:], b[0])])


def test_neighbours_in_one_buffer_are_different_arrays(backend: Backend) -> None:
    buffer = backend.xp.zeros((D, 2 * H), "float32")
    b = [backend.xp.zeros(H, "float32") for _ in range(2)]
    SGD([Linear(buffer[:, :H], b[0]), Linear(buffer[:, H:], b[1])])
    SGD([Linear(buffer[0, ::2][:H].reshape(1, H), buffer[0, 1::2])])  # interleaved
    empty = [Linear(backend.xp.zeros((0, H), "float32"), b) for b in b]
    SGD(empty)


@pytest.mark.parametrize("through", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_share_among_themselves(through: Callable[[Any], Any]) -> None:
    layer = Linear.init(D, H, rng=0, backend="numpy")
    copied, optimizer = through((layer, SGD([layer])))
    x = np.ones((4, D), "float32")
    y, of_copy = layer.forward(x), copied.forward(x)
    optimizer.step()
    layer.backward(y)
    with one_line(RuntimeError, CHANGED):
        copied.backward(of_copy)


def test_a_replaced_parameter_is_watched_too() -> None:
    one, other = (Linear.init(D, H, rng=0, backend="numpy") for _ in range(2))
    one.params[0] = other.params[0]
    y = one.forward(np.ones((4, D), "float32"))
    SGD([other]).step()
    with one_line(RuntimeError, CHANGED):
        one.backward(y)


def test_averaged_weights_end_an_earlier_forward(backend: Backend) -> None:
    layer = Linear.init(D, H, rng=0, backend=backend)
    average = EMA([layer])
    average.update()
    y = layer.forward(backend.xp.ones((4, D), "float32"))
    with average.applied(), one_line(RuntimeError, CHANGED):
        layer.backward(y)


def test_nothing_stays_of_layers_that_are_gone() -> None:
    layer = Linear.init(D, H, rng=0, backend="numpy")
    gc.disable()  # no reference cycle waits for it
    try:
        before = len(_users)
        for _ in range(10):
            Linear(*layer.params)
            Linear.init(D, H, rng=0, backend="numpy")
        assert len(_users) == before
    finally:
        gc.enable()
    assert [ref() for ref in layer._users[0].layers] == [layer]
