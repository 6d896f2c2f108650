"""For any wrong argument in place of an array, the error comes from xrnn, not from inside an array library."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests import standin
from tests.errors import one_line
from xrnn import (
    RNN,
    SGD,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    clip_grad_norm,
    mean_squared_error,
    softmax_cross_entropy,
)
from xrnn.backend import Backend

T, N, D, H = 3, 4, 2, 5
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


def entrances(backend: Backend) -> dict[str, Callable[[Any], object]]:
    """All functions with array arguments: each takes one wrong argument, the others are valid."""
    xp = backend.xp
    rnn, step = (RNN.init(D, H, rng=0, dtype="float64", backend=backend) for _ in range(2))
    linear = Linear.init(D, H, rng=0, dtype="float64", backend=backend)
    embedding = Embedding.init(6, D, rng=0, dtype="float64", backend=backend)
    dropout, norm = Dropout(0.5), LayerNorm.init(D, dtype="float64", backend=backend)
    x, index = xp.zeros((T, N, D)), xp.zeros((T, N), "int64")
    rnn.forward(x)
    step.forward(x[0])
    linear.forward(x)
    embedding.forward(index)
    dropout.forward(x)
    norm.forward(x)
    Wx, Wh, b = rnn.params
    logits, targets = xp.zeros((N, H)), xp.zeros(N, "int64")
    return {
        "RNN(Wx)": lambda junk: RNN(junk, Wh, b),
        "RNN(Wh)": lambda junk: RNN(Wx, junk, b),
        "RNN(b)": lambda junk: RNN(Wx, Wh, junk),
        "RNN.forward(x)": lambda junk: rnn.forward(junk),
        "RNN.forward(h_prev)": lambda junk: rnn.forward(x, junk) if junk is not None else refuse(),
        "RNN()(x)": lambda junk: rnn(junk),
        "RNN.backward": lambda junk: rnn.backward(junk),
        "RNN.backward of a step": lambda junk: step.backward(junk),
        "Linear(W)": lambda junk: Linear(junk, b),
        "Linear(b)": lambda junk: Linear(Wx, junk),
        "Linear.forward": lambda junk: linear.forward(junk),
        "Linear.backward": lambda junk: linear.backward(junk),
        "Embedding.forward": lambda junk: embedding.forward(junk),
        "Dropout.forward": lambda junk: dropout.forward(junk),
        "clip_grad_norm": lambda junk: clip_grad_norm([x, junk], 1.0),
        "Embedding.backward": lambda junk: embedding.backward(junk),
        "Dropout.backward": lambda junk: dropout.backward(junk),
        "softmax_cross_entropy(logits)": lambda junk: softmax_cross_entropy(junk, targets),
        "softmax_cross_entropy(targets)": lambda junk: softmax_cross_entropy(logits, junk),
        "softmax_cross_entropy(mask)": lambda junk: (
            softmax_cross_entropy(logits, targets, mask=junk) if junk is not None else refuse()
        ),
        "mean_squared_error(y)": lambda junk: mean_squared_error(junk, x),
        "mean_squared_error(target)": lambda junk: mean_squared_error(x, junk),
        "mean_squared_error(mask)": lambda junk: mean_squared_error(x, x, mask=junk) if junk is not None else refuse(),
        "huber(weight)": lambda junk: xrnn.huber(x, x, weight=junk) if junk is not None else refuse(),
        "quantile(y)": lambda junk: xrnn.quantile(junk, x),
        "binary_cross_entropy(targets)": lambda junk: xrnn.binary_cross_entropy(x, junk),
        "softmax_cross_entropy(class_weight)": lambda junk: (
            softmax_cross_entropy(logits, targets, class_weight=junk) if junk is not None else refuse()
        ),
        "LayerNorm(beta)": lambda junk: LayerNorm(b, junk),
        "LayerNorm.forward": lambda junk: norm.forward(junk),
        "LayerNorm.backward": lambda junk: norm.backward(junk),
        "last": lambda junk: xrnn.last(junk),
        "last_gradient": lambda junk: xrnn.last_gradient(junk, x),
        "SGD": lambda junk: SGD([junk]),
        "Adam": lambda junk: xrnn.Adam([junk]),
    }


def refuse() -> None:
    raise TypeError("None is what this argument may be")


FLOATS = ("0-d", "1-d", "4-d", "no elements", "float32")
VALID = {
    "Embedding.forward": ["integers"],
    "Dropout.forward": [*FLOATS, "another backend's array"],
    "clip_grad_norm": FLOATS,
}


@pytest.mark.parametrize("junk", JUNK)
def test_no_junk_reaches_the_array_library(backend: Backend, junk: str) -> None:
    for name, enter in entrances(backend).items():
        if junk in VALID.get(name, ()):
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            enter(JUNK[junk](backend))
        raised_in = Path(traceback.extract_tb(caught.tb)[-1].filename)
        assert {"xrnn", "tests"} & set(raised_in.parts), f"{name} of {junk}: raised in {raised_in}: {caught.value}"
        assert "\n" not in str(caught.value), name


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
        with one_line(TypeError, "array holds a masked array: expected plain ones; use filled(0) of each"):
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
