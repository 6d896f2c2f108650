"""For any wrong argument in place of an array, the error comes from xrnn, not from inside an array library."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests import standin
from tests.errors import one_line
from xrnn import GRU, LSTM, RNN, Dropout, Embedding, Linear, clip_grad_norm, mean_squared_error, softmax_cross_entropy
from xrnn.backend import Backend
from xrnn.ops.cells.lstm import LSTMCell

T, N, D, H = 3, 4, 2, 5
PACKAGE = Path(xrnn.__file__).parent
JUNK: dict[str, Callable[[Backend], Any]] = {
    "None": lambda backend: None,
    "a number": lambda backend: 1.5,
    "a string": lambda backend: "x",
    "a list": lambda backend: [[1.0, 2.0]],
    "an object": lambda backend: object(),
    "a function": lambda backend: np.tanh,
    "a scalar": lambda backend: np.float64(1),
    "a masked array": lambda backend: np.ma.masked_equal(np.zeros((N, D)), 0),
    "an array of objects": lambda backend: np.full((N, D), None),
    "an array of strings": lambda backend: np.full((N, D), "x"),
    "a structured array": lambda backend: np.zeros(N, [("a", "f8")]),
    "another backend's array": lambda backend: (standin if backend.name == "numpy" else np).zeros((N, D)),
    "0-d": lambda backend: backend.xp.zeros(()),
    "1-d": lambda backend: backend.xp.zeros(7),
    "4-d": lambda backend: backend.xp.zeros((2, 3, 4, 7)),
    "no elements": lambda backend: backend.xp.zeros((0, 7)),
    "integers": lambda backend: backend.xp.zeros((7, N), "int64"),
    "float16": lambda backend: backend.xp.zeros((7, N), "float16"),
    "float32": lambda backend: backend.xp.zeros((7, N), "float32"),
    "complex numbers": lambda backend: backend.xp.zeros((7, N), "complex128"),
    "bools": lambda backend: backend.xp.zeros((7, N), "bool"),
}


Call = Callable[[Any], object]
FLOATS = ("0-d", "1-d", "4-d", "no elements", "float32")
# Valid arguments: None for an optional argument, a number for a leak.
VALID: dict[str, tuple[str, ...]] = {
    "None": ("_prev)", "lengths", "states", "leak", "dc)", "mask)", "weight)"),
    "a scalar": ("leak",),
    "integers": ("Embedding.forward", "Embedding(x)"),
    "another backend's array": ("Dropout.forward", "Embedding(W)"),
    **dict.fromkeys(FLOATS, ("Dropout.forward", "Embedding(W)", "clip_grad_norm")),
}


def entrances(backend: Backend) -> dict[str, Call]:
    """All functions with array arguments: each takes one wrong argument, the others are valid."""
    xp = backend.xp
    options: dict[str, Any] = {"rng": 0, "dtype": "float64", "backend": backend}
    x, state, index = xp.zeros((T, N, D)), xp.zeros((N, H)), xp.zeros((T, N), "int64")
    logits, targets = xp.zeros((N, H)), xp.zeros(N, "int64")
    lstm, step = LSTM.init(D, H, **options), RNN.init(D, H, **options)
    step.forward(x[0])
    calls: dict[str, Call] = {
        "RNN(leak)": lambda junk: RNN(*step.params, leak=junk),
        "RNN.backward of a step": lambda junk: step.backward(junk),
        "LSTM.forward(h_prev)": lambda junk: lstm.forward(x, junk, state),
        "LSTM.forward(c_prev)": lambda junk: lstm.forward(x, state, junk),
        "LSTM.backward(dc)": lambda junk: lstm.backward(lstm.forward(x)[0], junk),
        "Bidirectional(backward)": lambda junk: xrnn.Bidirectional(lstm, junk),
        "Stack(layers)": lambda junk: xrnn.Stack([lstm, junk]),
        "SGD": lambda junk: xrnn.SGD([lstm, junk]),
        "Adam": lambda junk: xrnn.Adam([junk]),
        "clip_grad_norm": lambda junk: clip_grad_norm([x, junk], 1.0),
        "softmax_cross_entropy(logits)": lambda junk: softmax_cross_entropy(junk, targets),
        "softmax_cross_entropy(targets)": lambda junk: softmax_cross_entropy(logits, junk),
        "softmax_cross_entropy(mask)": lambda junk: softmax_cross_entropy(logits, targets, mask=junk),
        "softmax_cross_entropy(class_weight)": lambda junk: softmax_cross_entropy(logits, targets, class_weight=junk),
        "mean_squared_error(y)": lambda junk: mean_squared_error(junk, x),
        "mean_squared_error(target)": lambda junk: mean_squared_error(x, junk),
        "mean_squared_error(mask)": lambda junk: mean_squared_error(x, x, mask=junk),
        "huber(weight)": lambda junk: xrnn.huber(x, x, weight=junk),
        "quantile(y)": lambda junk: xrnn.quantile(junk, x),
        "binary_cross_entropy(targets)": lambda junk: xrnn.binary_cross_entropy(x, junk),
        "last": lambda junk: xrnn.last(junk),
        "last_gradient": lambda junk: xrnn.last_gradient(junk, x),
    }
    recurrent: list[Any] = [lstm, *(kind.init(D, H, **options) for kind in (RNN, GRU))]
    recurrent += [
        xrnn.Recurrent.init(LSTMCell(), D, H, **options),
        xrnn.Stack.init(GRU, D, H, 2, dropout=0.5, **options),
    ]
    recurrent += [xrnn.Bidirectional.init(LSTM, D, H, **options)]
    others = [Linear.init(D, H, **options), xrnn.LayerNorm.init(D, dtype="float64", backend=backend), Dropout(0.5)]
    for layer in (*recurrent, *others):
        calls |= of_layer(layer, x)
    for layer in recurrent:
        calls |= of_sequences(layer, x)
    return calls | of_layer(Embedding.init(6, D, **options), index)


def of_layer(layer: Any, x: Any) -> dict[str, Call]:
    name, params = type(layer).__name__, getattr(layer, "names", ())
    layer.forward(x)
    calls: dict[str, Call] = {
        f"{name}.forward(x)": lambda junk: layer.forward(junk),
        f"{name}.backward(dh)": lambda junk: layer.backward(junk),
    }
    if params:
        calls[f"{name}(x)"] = lambda junk: layer(junk)
    for k, param in enumerate(params if name != "Recurrent" else ()):
        before, after = layer.params[:k], layer.params[k + 1 :]
        calls[f"{name}({param})"] = partial(lambda b, a, junk: type(layer)(*b, junk, *a), before, after)
    return calls


def of_sequences(layer: Any, x: Any) -> dict[str, Call]:
    name, results = type(layer).__name__, layer.forward(x)
    calls: dict[str, Call] = {
        f"{name}.forward(x) with a list": lambda junk: layer.forward(junk, lengths=[1] * N),
        f"{name}.forward(lengths)": lambda junk: layer.forward(x, lengths=junk),
    }
    if layer.streams:
        calls[f"{name}.stream(x)"] = lambda junk: layer.stream(junk)
        calls[f"{name}.stream(states)"] = lambda junk: layer.stream(x, junk)
    if hasattr(layer, "layers"):
        h, states = results
        calls |= {
            f"{name}.forward(states)": lambda junk: layer.forward(x, junk),
            f"{name}.forward(states[1])": lambda junk: layer.forward(x, (states[0], junk)),
            f"{name}.backward(dstates)": lambda junk: layer.backward(h, junk),
            f"{name}.backward(dstates[1])": lambda junk: layer.backward(h, (states[0], junk)),
        }
    return calls


@pytest.mark.parametrize("junk", JUNK)
def test_every_wrong_argument_is_refused_by_xrnn(backend: Backend, junk: str) -> None:
    for name, call in entrances(backend).items():
        if any(part in name for part in VALID.get(junk, ())):
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            call(JUNK[junk](backend))
        message, raised_in = str(caught.value), Path(traceback.extract_tb(caught.tb)[-1].filename)
        assert raised_in.is_relative_to(PACKAGE), f"{name} of {junk}: raised in {raised_in}: {message}"
        assert re.search("expected|expects|use |match", message), f"{name} of {junk}: {message}"
        assert "\n" not in message, name


def test_no_complex_number_loses_its_imaginary_part(backend: Backend) -> None:
    """The remedies for other dtypes, a cast, would drop it."""
    z, x = backend.xp.ones((N, D), "complex64"), backend.xp.ones((N, D), "float32")
    remedy = "use {0}.real and {0}.imag"
    linear = Linear.init(D, H, rng=0, backend=backend)
    enters: list[tuple[str, Callable[[], object]]] = [
        ("x", lambda: linear(z)),
        ("W", lambda: Linear(z, z[0])),
        ("y", lambda: mean_squared_error(z, z)),
        ("target", lambda: mean_squared_error(x, z)),
        ("weight", lambda: mean_squared_error(x, x, weight=z)),
        ("grads[0]", lambda: clip_grad_norm([z], 1.0)),
        ("argument 0", lambda: xrnn.gradcheck(lambda x: x, lambda u: [u], [z])),
        ("leak", lambda: RNN.init(D, 2, leak=z[0], backend=backend)),
        ("array", lambda: xrnn.asarray(z, backend=backend)),
        ("array", lambda: xrnn.asarray(z, "float32", backend=backend)),
        ("array", lambda: xrnn.asarray([1j], "int64", backend=backend)),
        ("array", lambda: xrnn.asarray(1j, "float64", backend=backend)),
        ("sequences[0]", lambda: xrnn.pad([z])),
        ("array", lambda: xrnn.pad([[1j], [2.0]])),
        ("h", lambda: xrnn.last(backend.xp.ones((T, N, D), "complex64"))),
        ("scale[1]", lambda: xrnn.to_c(linear, "unwritten.c", scale=(np.zeros(D), np.ones(D, "complex64")))),
    ]
    for name, enter in enters:
        with one_line(TypeError, f"{name} has dtype complex", remedy.format(name)):
            enter()


@pytest.mark.parametrize("dtype", ["complex64", "object"])
def test_an_error_of_a_dtype_names_it(dtype: str) -> None:
    with one_line(TypeError, f"dtype is {dtype}: expected a dtype of real numbers; use 'float32'"):
        xrnn.asarray([1.0], dtype, backend="numpy")


def test_a_list_that_holds_a_masked_array_is_refused() -> None:
    """NumPy would use the values under the masks."""
    masked = np.ma.masked_equal([1.0, 2.0], 1)
    lists: list[Any] = [[masked, masked], (masked,), [np.ma.masked, 1.0], [[masked]], [[[1.0, 2.0]], ([masked],)]]
    for values in lists:
        with one_line(TypeError, "array holds a masked array: use filled(0) of each"):
            xrnn.asarray(values)
    holds_itself: list[Any] = []
    holds_itself.append(holds_itself)
    with one_line(TypeError, "array is a list: expected an array, a number, or nested lists of numbers"):
        xrnn.asarray(holds_itself)


def test_another_byte_order() -> None:
    """NumPy reads such arrays, for example from a file of another machine. The remedy keeps their width."""
    rnn = RNN.init(D, H, rng=0, dtype="float64", backend="numpy")
    for kind, native in {"f4": "float32", "f8": "float64"}.items():
        swapped = np.ones((N, D), np.dtype(kind).newbyteorder("S"))
        words = f"dtype {swapped.dtype}, in the byte order of another machine"
        for enter in (Dropout(0.5).forward, lambda x: mean_squared_error(x, x), lambda g: clip_grad_norm([g], 1.0)):
            with one_line(TypeError, words, "expected float32 or float64", f".astype('{native}')"):
                enter(swapped)
        with one_line(TypeError, f"target has {words}, but y has dtype {native}", f"use target.astype('{native}')"):
            mean_squared_error(swapped.astype(native), swapped)
        with one_line(TypeError, words, "this RNN computes in float64", "use x.astype('float64')"):
            rnn.forward(swapped)
        assert rnn(swapped.astype("float64")).dtype == np.float64
