"""Quantized layers: close to the layer they are made from, for inference only, kept in files and Stacks."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import xrnn
from tests.conftest import STANDIN
from tests.drawn import draw, draw_initial
from tests.errors import one_line, refused
from tests.layers.by_hand import as_tuple
from tests.peephole.layer import PeepholeLSTM
from tests.reference import CELLS, problem
from xrnn import GRU, LSTM, RNN, Bidirectional, Linear, Stack, load, quantize, save
from xrnn.files import FileError
from xrnn.ops.int8 import Int8Matrix

NAMES = [name for name, case in CELLS.items() if not case.heads]  # `quantize` refuses heads
every_cell = pytest.mark.parametrize("name", NAMES)


def layer_of(name: str, reverse: bool = False) -> Any:
    return problem(name, (1, 1, 3, 20), "float32", reverse=reverse).layer(xrnn.get_backend("numpy"))


@pytest.fixture(autouse=True)
def numpy_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [0, 8, 1, 5]])
@every_cell
def test_is_close_to_the_float32_layer_but_not_equal(form: str, name: str, reverse: bool, lengths: Any) -> None:
    layer, x = layer_of(name, reverse), draw(8, 4, 3)  # few steps: an integrator adds up its errors
    for n, length in enumerate(lengths or []):
        x[length:, n] = np.nan
    states = draw_initial(layer.cell, 4, layer.output_size)
    found, expected = (as_tuple(each(x, *states, lengths=lengths)) for each in (quantize(layer), layer))
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


def test_its_arrays_cannot_change() -> None:
    quantized = quantize(PeepholeLSTM.init(3, 20, rng=0))
    for layer in (quantized, copy.deepcopy(quantized), pickle.loads(pickle.dumps(quantized)), xrnn.freeze(quantized)):
        assert layer.is_int8
        for array in layer.params:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    with one_line(ValueError, "params[0] of layers[0] is read-only: expected parameters that can be updated in place"):
        xrnn.Adam([quantized])
    quantized.params[0] = quantized.params[0].copy()
    with one_line(ValueError, "params of this quantized PeepholeLSTM were replaced", "quantize the float32 layer"):
        quantized(draw(2, 3))


# ---- files ----


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


# ---- in a Stack, and in a checkpoint ----


def test_a_stack_and_a_bidirectional_of_quantized_layers(tmp_path: Path) -> None:
    layers: list[Any] = [GRU.init(3, 20, rng=0), LSTM.init(3, 5, rng=0, reverse=True), LSTM.init(25, 5, rng=1)]
    *first, last = map(quantize, layers)
    norm, x, lengths = xrnn.LayerNorm.init(25), draw(7, 2, 3), [7, 4]
    model = xrnn.Network(
        stack=Stack([Bidirectional(*layers[:2]), norm, layers[2]], dropout=0.5, rng=0), out=Linear.init(5, 2)
    )
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


# ---- refusals ----


def test_layers_that_cannot_be_quantized() -> None:
    with_nan, wide, onnx = LSTM.init(3, 4, rng=0), LSTM.init(3, 4, rng=0, dtype="float64"), GRU.init(3, 4, rng=0)
    with_nan.Wh[0, 0] = np.nan
    on_device = GRU.init(3, 4, rng=0, backend=STANDIN)
    refused(
        (ValueError, lambda: quantize(wide), "dtype of this LSTM is float64", "expected float32"),
        (ValueError, lambda: quantize(on_device), "backend of this GRU is cupy", "expected numpy"),
        (ValueError, lambda: quantize(with_nan), "Wh of this LSTM has NaN or infinity", "expected finite weights"),
        (TypeError, lambda: quantize(quantize(onnx)), "layer is a quantized GRU", "a recurrent layer in float32"),
        *((TypeError, lambda it=it: quantize(it), "expected a recurrent layer") for it in (Linear.init(3, 4), None, 3)),
        (TypeError, lambda: quantize(Stack([xrnn.LayerNorm.init(3)])), "Stack: expected a recurrent layer"),
    )


@pytest.mark.usefixtures("form")
def test_what_a_quantized_layer_refuses(tmp_path: Path) -> None:
    small: Any = quantize(GRU.init(3, 3, rng=0))
    x = draw(2, 2, 3)
    save(tmp_path / "q.safetensors", small)
    elsewhere = tmp_path / "q.safetensors"
    Wx = Int8Matrix(np.zeros((3, 5), "int8"), np.ones(5, "float32"))
    rest: Any = np.zeros((5, 5), "float32"), np.zeros(5, "float32")
    refused(
        (RuntimeError, lambda: small.forward(x), "forward of a quantized GRU", "a call or stream", "quantize it again"),
        (RuntimeError, lambda: small.backward(x), "backward of a quantized GRU", "a call or stream"),
        (FileError, lambda: load(elsewhere, backend=STANDIN), "Wx is a", "of int8", "int8, with backend='numpy'"),
        (TypeError, lambda: RNN(Wx, *rest), "one of Wx and Wh of this quantized RNN is an Int8Matrix"),  # type: ignore[arg-type]
    )


def test_the_constructor_checks_its_arrays() -> None:
    def made(*Wx: int, scale: int = 5, b: int = 5, dtype: str = "int8") -> Callable[[], object]:
        matrix: Any = Int8Matrix(np.zeros(Wx, dtype), np.ones(scale, "float32"))
        square: Any = Int8Matrix(np.zeros((5, 5), "int8"), np.ones(5, "float32"))
        return lambda: RNN(matrix, square, np.zeros(b, "float32"))

    refused(
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
