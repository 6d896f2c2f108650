"""Frozen layers: the bits of the layers they are made from, and weights that cannot change."""

from __future__ import annotations

import copy
import ctypes
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import xrnn
from tests.built import NEEDS_KERNELS
from tests.errors import one_line, refused
from tests.layers.test_recurrent import Run, each, in_turn
from tests.reference import CELLS, problem
from tests.thin import thin
from xrnn import GRU, LRU, LSTM, RNN, Bidirectional, Stack, freeze, use_fused, use_precision
from xrnn.backend import Backend
from xrnn.backends.numpy import kernels
from xrnn.ops.cells.lru import LRUCell


@each(in_turn(None, "ragged"), "lengths")
def test_has_the_bits_of_its_layer(backend: Backend, cell: str, lengths: str | None) -> None:
    run = Run(problem(cell, (4, 3, 6, 36), "float32", reverse=bool(lengths), lengths=lengths), backend)
    called, results, gradients = run.call(), run.forward(), run.backward()
    run.layer = freeze(run.layer)
    for got, want in zip([*run.call(), *run.call(), *run.forward()], [*called, *called, *results], strict=True):
        assert_array_equal(got, want)
    for name, got in run.backward().items():
        assert_array_equal(got, gradients[name])


@NEEDS_KERNELS
def test_computes_the_coefficients_of_its_cell_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = mock.Mock(side_effect=LRUCell().coefficients)
    monkeypatch.setattr(LRUCell, "coefficients", counted)
    layer, state = LRU.init(3, 4, rng=0, backend="numpy"), None
    frozen = freeze(layer)
    for _ in range(3):
        _, state = frozen.stream(np.ones((2, 3), "float32"), state)
    assert counted.call_count == 1
    for x in np.ones((2, 2, 3), "float32"):
        layer.stream(x)
    assert counted.call_count == 3  # of weights that may change in between


@pytest.mark.parametrize(("cell", "rows"), thin([*CELLS], [1, 3]))
def test_streams_the_bits_of_its_layer(backend: Backend, cell: str, rows: int) -> None:
    run = Run(problem(cell, (5, rows, 6, 70), "float32"), backend)
    frozen, states = freeze(run.layer), [None, None]
    for x in run.x:
        (want, states[0]), (got, states[1]) = run.layer.stream(x, states[0]), frozen.stream(x, states[1])
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))


def wide(dtype: str = "float32") -> tuple[Any, Any]:
    """A layer whose weights a step in place reads in strips, and an input of three steps."""
    rng, shapes = np.random.default_rng(0), [(20, 1200), (300, 1200), (1200,)]
    Wx, Wh, b = (0.05 * rng.standard_normal(shape) for shape in shapes)
    return LSTM(*(w.astype(dtype) for w in (Wx, Wh, b))), rng.standard_normal((3, 2, 20)).astype(dtype)


def erase(frozen: Any) -> None:
    """Write zeros to the memory of the parameters, which Python can't write: only the packed weights are left."""
    for param in (frozen.Wx, frozen.Wh):
        ctypes.memset(param.ctypes.data, 0, param.nbytes)


@NEEDS_KERNELS
def test_packs_the_weights_once() -> None:
    layer, x = wide()
    frozen, want = freeze(layer), layer(x)[0]
    assert_array_equal(frozen(x)[0], want)
    erase(frozen)
    assert_array_equal(frozen(x)[0], want)
    assert_array_equal(frozen.stream(x)[0], want)
    with use_fused(False):
        assert np.abs(frozen(x)[0] - want).max() > 0.01


@NEEDS_KERNELS
def test_packs_the_weights_for_two_numbers_of_threads() -> None:
    layer, x = wide()
    frozen, want = freeze(layer), layer(x)[0]
    try:
        for threads in (1, 3):
            kernels.force_partition(threads, "columns", True)
            assert_array_equal(frozen(x)[0], want)
        erase(frozen)
        for threads in (3, 1):
            kernels.force_partition(threads, "columns", True)
            assert_array_equal(frozen(x)[0], want)
        kernels.force_partition(5, "columns", True)
        assert np.abs(frozen(x)[0] - want).max() > 0.01  # a third number: packs in the call
    finally:
        kernels.force_partition(0, "rows", False)


@NEEDS_KERNELS
def test_several_threads_may_call_it_for_the_first_time_at_once() -> None:
    layer, x = wide()
    frozen, want = freeze(layer), layer(x)[0]
    with ThreadPoolExecutor(4) as threads:
        for result in threads.map(lambda _: frozen(x)[0], range(20)):
            assert_array_equal(result, want)


@pytest.mark.usefixtures("form")
def test_keeps_the_order_of_the_weights() -> None:
    """The order decides which of two functions the plain form's products call, and so their last bits."""
    made = GRU.init(6, 40, rng=0, backend="numpy", reset_after=False)
    layer = GRU(*map(np.asfortranarray, made.params), reset_after=False)
    x = np.random.default_rng(1).standard_normal((5, 1, 6)).astype("float32")
    assert_array_equal(freeze(layer)(x), layer(x))
    assert freeze(layer).Wx.flags.f_contiguous


@NEEDS_KERNELS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_follows_the_level_and_the_precision(dtype: str) -> None:
    layer, x = wide(dtype)
    frozen, before = freeze(layer), kernels.level()
    try:
        for level in (*kernels.levels(), *kernels.levels()):
            kernels.set_level(level)
            assert_array_equal(frozen(x)[0], layer(x)[0])
    finally:
        kernels.set_level(before)
    kernels.force_products(True)
    try:
        with use_precision("bfloat16"):
            rounded = frozen(x)[0]
            assert_array_equal(rounded, layer(x)[0])
    finally:
        kernels.force_products(False)
    assert_array_equal(frozen(x)[0], layer(x)[0])
    if kernels.products_by(1) and dtype == "float32":
        assert (rounded != layer(x)[0]).any()


def test_the_weights_cannot_change() -> None:
    layer, x = wide()
    frozen, want = freeze(layer), layer(x)[0]
    layer.Wh[...] = 0
    assert_array_equal(frozen(x)[0], want)
    for param in frozen.params:
        with pytest.raises(ValueError, match="read-only"):
            param[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            param.flags.writeable = True
    expected = "params[0] of layers[0] is read-only: expected parameters that can be updated in place"
    with one_line(ValueError, expected):
        xrnn.SGD([frozen], lr=0.1)


def test_replaced_weights_are_used() -> None:
    layer, x = wide()
    frozen, before = freeze(layer), layer(x)[0]
    frozen(x)
    own = frozen.params[1]
    frozen.params[1] = layer.Wh
    for factor in (1, 0.5):
        layer.Wh *= factor
        assert_array_equal(frozen(x)[0], layer(x)[0])
    frozen.params[1] = own
    assert_array_equal(frozen(x)[0], before)


@pytest.mark.parametrize(
    "make", [partial(LRU.init, 4, 4, rng=0), partial(RNN.init, 4, 4, rng=0, leak=0.3, trains_leak=True)]
)
def test_replaced_own_parameters_are_used(make: Callable[[], Any]) -> None:
    x, frozen, layer = np.ones((5, 3, 4), "float32"), freeze(make()), make()
    frozen(x)
    frozen.params[3] = layer.params[3]
    for _ in range(2):
        layer.params[3] += 1
        assert_array_equal(frozen(x), layer(x))


@NEEDS_KERNELS
def test_exporters_keep_the_packed_weights(tmp_path: Path) -> None:
    layer, x = wide()
    frozen, want = freeze(layer), layer(x)[0]
    frozen(x)
    xrnn.to_c(frozen, tmp_path / "model.c")
    xrnn.save(tmp_path / "frozen.safetensors", frozen)
    frozen.params[2] = frozen.params[2].copy()  # b is not packed
    erase(frozen)
    assert_array_equal(frozen(x)[0], want)
    loaded: Any = xrnn.load(tmp_path / "frozen.safetensors")
    assert_array_equal(loaded(x)[0], want)
    loaded.Wh *= 0.5  # an ordinary layer


def pickled(protocol: int) -> Callable[[Any], Any]:
    return lambda layer: pickle.loads(pickle.dumps(layer, protocol))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, *map(pickled, range(2, pickle.HIGHEST_PROTOCOL + 1))])
def test_a_copy_is_an_ordinary_layer(duplicate: Callable[[Any], Any]) -> None:
    layer, x = wide()
    again = duplicate(freeze(layer))
    assert_array_equal(again(x)[0], layer(x)[0])
    again.Wh *= 0.5
    layer.Wh *= 0.5
    assert_array_equal(again(x)[0], layer(x)[0])


def test_its_cache_can_be_copied_and_pickled() -> None:
    layer, x = wide()
    frozen = freeze(layer)
    frozen(x)
    frozen.forward(x)
    for cache in (copy.copy(frozen.cache), pickle.loads(pickle.dumps(frozen.cache))):
        assert_array_equal(cache.states[0][1:], layer(x)[0])


def test_a_composite_and_every_other_layer(backend: Backend) -> None:
    def halves(size: int) -> Bidirectional:
        return Bidirectional.init(GRU, size, 8, rng=0, backend=backend)

    stack = Stack([halves(3), xrnn.LayerNorm.init(16, backend=backend), Stack([halves(16)])], dropout=0.5, rng=0)
    x = backend.asarray(np.random.default_rng(1).standard_normal((5, 2, 3)), "float32")
    frozen = freeze(stack)
    assert_array_equal(backend.to_numpy(frozen(x)[0]), backend.to_numpy(stack(x)[0]))
    linear, embedding = (kind.init(3, 4, rng=0, backend=backend) for kind in (xrnn.Linear, xrnn.Embedding))
    index = backend.asarray([[2, 0], [1, 1]])
    for layer, given in ((linear, x), (embedding, index)):
        assert_array_equal(backend.to_numpy(freeze(layer)(given)), backend.to_numpy(layer(given)))
    if backend.name == "numpy":
        for each in (frozen, freeze(linear), freeze(embedding)):
            assert not any(param.flags.writeable for param in each.params)


def test_what_it_refuses() -> None:
    layer, _ = wide()
    layer.params[1] = np.zeros((3, 3), "float32")
    others: list[Any] = [xrnn.Dropout(0.5), [LSTM.init(3, 4)], None]
    refused(
        (ValueError, lambda: freeze(layer), "Wh has shape (3, 3), but this LSTM expects (300, 1200)"),
        *((TypeError, lambda it=it: freeze(it), "expected a layer with parameters; pass an LSTM, or") for it in others),
    )
