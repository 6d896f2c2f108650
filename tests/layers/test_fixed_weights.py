"""Layers whose weights cannot change: frozen ones, with the bits of their layers, and quantized ones, close to them."""

from __future__ import annotations

import copy
import ctypes
import gc
import pickle
import weakref
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
from tests.combinations import thin
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.layers.kinds import as_tuple
from tests.layers.test_recurrent import Run, each, in_turn
from tests.needs_kernels import NEEDS_KERNELS
from tests.peephole.layer import PeepholeLSTM
from tests.random_operands import draw, draw_initial
from tests.reference import CELLS, problem
from xrnn import GRU, LRU, LSTM, RNN, Bidirectional, Linear, Stack, freeze, load, quantize, save, use_fused
from xrnn.backend import Backend
from xrnn.backends.numpy import kernels
from xrnn.files import FileError
from xrnn.ops.cells.lru import LRUCell
from xrnn.ops.int8 import Int8Matrix


@pytest.fixture(autouse=True)
def _numpy_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")


# ---- frozen layers ----


@each(in_turn(None, "ragged"), "lengths")
def test_a_frozen_layer_has_the_bits_of_its_layer(backend: Backend, cell: str, lengths: str | None) -> None:
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
        with xrnn.use_precision("bfloat16"):
            rounded = frozen(x)[0]
            assert_array_equal(rounded, layer(x)[0])
    finally:
        kernels.force_products(False)
    assert_array_equal(frozen(x)[0], layer(x)[0])
    if kernels.products_by(1) and dtype == "float32":
        assert (rounded != layer(x)[0]).any()


@pytest.mark.parametrize("make", [freeze, quantize])
def test_the_weights_cannot_change(make: Callable[[Any], Any]) -> None:
    layer, x = PeepholeLSTM.init(3, 20, rng=0), draw(3, 2, 3)
    fixed = make(layer)
    want = fixed(x)[0]
    layer.Wh[...] = 0
    assert_array_equal(fixed(x)[0], want)
    copies = [copy.deepcopy(fixed), pickle.loads(pickle.dumps(fixed)), freeze(fixed)] if make is quantize else []
    for one in (fixed, *copies):
        assert one.is_int8 == (make is quantize)
        for param in one.params:
            with pytest.raises(ValueError, match="read-only"):
                param[...] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                param.flags.writeable = True
    with one_line(ValueError, "params[0] of layers[0] is read-only: expected parameters that can be updated in place"):
        xrnn.SGD([fixed])


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


@pytest.mark.parametrize("make", [partial(LRU.init, 4, 4, rng=0), partial(RNN.init, 4, 4, rng=0, trains_leak=True)])
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


# ---- quantized layers ----


NAMES = [name for name, case in CELLS.items() if not case.heads]  # `quantize` refuses heads
every_cell = pytest.mark.parametrize("name", NAMES)


def layer_of(name: str, reverse: bool = False) -> Any:
    return problem(name, (1, 1, 3, 20), "float32", reverse=reverse).layer(xrnn.get_backend("numpy"))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [0, 8, 1, 5]])
@every_cell
def test_is_close_to_the_float32_layer_but_not_equal(form: str, name: str, reverse: bool, lengths: Any) -> None:
    layer, x = layer_of(name, reverse), draw(8, 4, 3)  # few steps: an integrator adds up its errors
    for n, length in enumerate(lengths or []):
        x[length:, n] = np.nan
    states = draw_initial(layer.cell, 4, layer.output_size)
    options = {"lengths": lengths, "add": draw(*x.shape[:2], len(layer.b), seed=3)}
    for n, length in enumerate(lengths or []):
        options["add"][length:, n] = np.nan
    found, expected = (as_tuple(each(x, *states, **options)) for each in (quantize(layer), layer))
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        error = np.abs(got - want).max()
        assert 1e-4 < error < 0.1 * max(1, np.abs(want).max())


@every_cell
def test_stream_continues_as_one_sequence(form: str, name: str) -> None:
    quantized, x = quantize(layer_of(name)), draw(7, 2, 3)
    expected = as_tuple(quantized(x))
    h, state = quantized.stream(x[:3])
    parts = [h]
    for step in x[3:5]:
        h, state = quantized.stream(step, state)
        assert h.shape == (2, quantized.output_size)
        parts.append(h[None])
    h, state = quantized.stream(x[5:], state)
    assert_array_equal(np.concatenate([*parts, h]), expected[0])
    for got, want in zip(as_tuple(state), expected, strict=True):
        assert_array_equal(got, want[-1])
    assert_array_equal(as_tuple(quantized(x[0]))[0], expected[0][0])


def test_sizes_and_repr() -> None:
    quantized = quantize(GRU.init(3, 20, rng=0))
    assert (quantized.input_size, quantized.output_size, quantized.title) == (3, 20, "quantized GRU")
    assert repr(quantized) == "quantized GRU(3 → 20, 1,580 parameters, int8, numpy)"
    assert type(quantized) is GRU
    assert list(quantized.named_params) == ["Wx", "Wh", "b", "Wx_scale", "Wh_scale"]
    assert quantized.Wx.dtype == "int8"


@every_cell
def test_copies_and_files(tmp_path: Path, name: str) -> None:
    quantized, x = quantize(layer_of(name)), draw(3, 2, 3)
    others = [copy.deepcopy(quantized), pickle.loads(pickle.dumps(quantized))]
    if CELLS[name].built_in:
        save(tmp_path / "small.safetensors", quantized)
        others.append(load(tmp_path / "small.safetensors"))
    for other in others:
        assert repr(other) == repr(quantized)
        for got, want in zip(as_tuple(other(x)), as_tuple(quantized(x)), strict=True):
            assert_array_equal(got, want)


def test_a_stack_and_a_bidirectional_of_quantized_layers(tmp_path: Path) -> None:
    layers: list[Any] = [GRU.init(3, 20, rng=0), LSTM.init(3, 5, rng=0, reverse=True), LSTM.init(25, 5, rng=1)]
    *first, last = map(quantize, layers)
    norm, x, lengths = xrnn.LayerNorm.init(25), draw(7, 2, 3), [7, 4]
    model = xrnn.Network(stack=Stack([Bidirectional(*layers[:2]), norm, layers[2]], dropout=0.5), out=Linear.init(5, 2))
    quantized = quantize(model)
    stack = quantized.stack
    assert (quantized.out.W == model.out.W).all()
    assert stack.dropout[0] is not model.stack.dropout[0]
    of_both = np.concatenate([as_tuple(layer(x, lengths=lengths))[0] for layer in first], axis=-1)
    expected = as_tuple(last(norm(of_both), lengths=lengths))[0]
    h, states = stack(x, lengths=lengths)
    assert_array_equal(h, expected)
    assert_array_equal(states[2][0], h[-1])
    with one_line(RuntimeError, "forward of a quantized GRU"):
        stack.forward(x)
    save(tmp_path / "stack.safetensors", stack)
    assert_array_equal(load(tmp_path / "stack.safetensors")(x, lengths=lengths)[0], expected)


@pytest.mark.parametrize("int8", [False, True])
def test_a_checkpoint_holds_a_layer_once(tmp_path: Path, int8: bool) -> None:
    layer = LSTM.init(64, 64, rng=0)
    layer = quantize(layer) if int8 else layer
    stack, x = Stack([layer, GRU.init(64, 5, rng=0)]), draw(3, 2, 64)
    xrnn.save_checkpoint(tmp_path / "once.safetensors", {"a": layer})
    xrnn.save_checkpoint(tmp_path / "c.safetensors", {"a": layer, "b": layer, "both": stack, "again": stack})
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("c", "once")]
    assert sizes[0] - sizes[1] < 8 * 1024  # the GRU and the description
    layers = xrnn.load_checkpoint(tmp_path / "c.safetensors").layers
    assert layers["a"] is layers["b"] is layers["both"].layers[0]
    assert layers["again"] is layers["both"]
    assert_array_equal(layers["both"](x)[0], stack(x)[0])


def test_layers_without_fixed_weights() -> None:
    with_nan, wider, gru = LSTM.init(3, 4, rng=0), LSTM.init(3, 4, rng=0, dtype="float64"), GRU.init(3, 4, rng=0)
    changed, on_device = LSTM.init(3, 4), GRU.init(3, 4, rng=0, backend=STANDIN)
    with_nan.Wh[0, 0] = np.nan
    changed.params[1] = np.zeros((3, 3), "float32")
    others: list[Any] = [xrnn.Dropout(0.5), [gru], None]
    refused(
        (ValueError, lambda: freeze(changed), "Wh has shape (3, 3), but this LSTM expects (4, 16)"),
        *((TypeError, lambda it=it: freeze(it), "expected a layer with parameters; pass an LSTM, or") for it in others),
        (ValueError, lambda: quantize(wider), "dtype of this LSTM is float64", "expected float32"),
        (ValueError, lambda: quantize(on_device), "backend of this GRU is cupy", "expected numpy"),
        (ValueError, lambda: quantize(with_nan), "Wh of this LSTM has NaN or infinity: train it again"),
        (TypeError, lambda: quantize(quantize(gru)), "layer is a quantized GRU", "a recurrent layer in float32"),
        *((TypeError, lambda it=it: quantize(it), "expected a recurrent layer") for it in (Linear.init(3, 4), None, 3)),
        (TypeError, lambda: quantize(Stack([xrnn.LayerNorm.init(3)])), "Stack: expected a recurrent layer"),
    )


@pytest.mark.usefixtures("form")
def test_what_a_quantized_layer_refuses(tmp_path: Path) -> None:
    small: Any = quantize(GRU.init(3, 3, rng=0))
    replaced, x, path = quantize(GRU.init(3, 3, rng=0)), draw(2, 2, 3), tmp_path / "q.safetensors"
    replaced.params[0] = replaced.params[0].copy()
    save(path, small)

    def made(*Wx: int, scale: int = 5, b: int = 5, dtype: str = "int8", square: Any = None) -> Callable[[], object]:
        matrix: Any = Int8Matrix(np.zeros(Wx, dtype), np.ones(scale, "float32"))
        square = Int8Matrix(np.zeros((5, 5), "int8"), np.ones(5, "float32")) if square is None else square
        return lambda: RNN(matrix, square, np.zeros(b, "float32"))

    plain = np.zeros((5, 5), "float32")
    refused(
        (RuntimeError, lambda: small.forward(x), "forward of a quantized GRU", "a call or stream", "quantize it again"),
        (RuntimeError, lambda: small.backward(x), "backward of a quantized GRU", "a call or stream"),
        (ValueError, lambda: replaced(x), "params of this quantized GRU were replaced", "quantize the float32 layer"),
        (FileError, lambda: load(path, backend=STANDIN), "Wx is a", "of int8", "int8, with backend='numpy'"),
        (TypeError, made(3, 5, square=plain), "one of Wx and Wh of this quantized RNN is an Int8Matrix"),
        (ValueError, made(3, 4), "Wx has shape (3, 4)", "its scale (5,)", "one scale for each column"),
        (ValueError, made(3, 4, scale=4), "Wx has shape (3, 4)", "this quantized RNN expects (D, 5)"),
        (ValueError, made(3, 5, b=4), "b has shape (4,)", "expects (5,)"),
        (ValueError, made(0, 5), "Wx has shape (0, 5)"),
        (ValueError, made(2**16 + 1, 5), "65,537 inputs", "expected at most 65,536 of each"),
        (TypeError, made(3, 5, dtype="int16"), "Wx is a numpy.ndarray of int16", "expected int8, with backend='numpy'"),
    )


def test_a_deleted_layer_frees_its_memory_at_once() -> None:
    layer = quantize(GRU.init(3, 4, rng=0, backend="numpy"))
    layer(np.ones((1, 2, 3), "float32"))
    store = weakref.ref(layer.store)
    gc.disable()  # no reference cycle waits for it
    try:
        del layer
        assert store() is None
    finally:
        gc.enable()
