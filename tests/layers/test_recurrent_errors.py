"""RNN refuses bad input at its door, in one line: what came, what was expected, the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import standin
from tests.errors import one_line
from xrnn import RNN, asarray
from xrnn.backend import Backend

D, H, T, N = 3, 5, 6, 4


@pytest.fixture
def rnn(backend: Backend) -> RNN:
    return RNN.init(D, H, rng=0, backend=backend)


def zeros(backend: Backend, *shape: int, dtype: str = "float32") -> Any:
    return backend.xp.zeros(shape, dtype)


@pytest.mark.parametrize("shape", [(), (D,), (N, D + 1), (T, N, D + 1), (N, D, T), (2, T, N, D)], ids=str)
def test_wrong_shape_of_x(backend: Backend, rnn: RNN, shape: tuple[int, ...]) -> None:
    x = zeros(backend, *shape)
    for run in (rnn.forward, rnn):
        with one_line(ValueError, f"x has shape {shape}", "(N, 3)", "(T, N, 3)", "Wx is (3, 5)", "x[None]"):
            run(x)


@pytest.mark.parametrize("shape", [(), (H,), (N, H + 1), (N + 1, H), (1, N, H)], ids=str)
def test_wrong_shape_of_h_prev(backend: Backend, rnn: RNN, shape: tuple[int, ...]) -> None:
    h_prev = zeros(backend, *shape)
    for x in (zeros(backend, N, D), zeros(backend, T, N, D)):
        with one_line(ValueError, f"h_prev has shape {shape}", "expects (4, 5)", "N as in x, H as in Wh"):
            rnn.forward(x, h_prev)


@pytest.mark.parametrize("shape", [(), (N, H), (T, N, D), (T, N + 1, H), (T + 1, N, H), (1, T, N, H)], ids=str)
def test_wrong_shape_of_dh_next(backend: Backend, rnn: RNN, shape: tuple[int, ...]) -> None:
    rnn.forward(zeros(backend, T, N, D))
    with one_line(ValueError, f"dh_next has shape {shape}", "expects (6, 4, 5)", "what the last forward returned"):
        rnn.backward(zeros(backend, *shape))


def test_wrong_shape_of_dh_next_after_one_step(backend: Backend, rnn: RNN) -> None:
    rnn.forward(zeros(backend, N, D))
    with one_line(ValueError, "dh_next has shape (1, 4, 5)", "expects (4, 5)", "what the last forward returned"):
        rnn.backward(zeros(backend, 1, N, H))


def test_backward_before_forward(backend: Backend, rnn: RNN) -> None:
    rnn(zeros(backend, N, D))  # a call keeps nothing
    with one_line(RuntimeError, "backward needs a forward before it", "call forward(x, h_prev) first"):
        rnn.backward(zeros(backend, N, H))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "bool", "complex64", ">f4"])
def test_wrong_dtype(backend: Backend, rnn: RNN, dtype: str) -> None:
    if dtype == ">f4" and backend.name == "cupy":
        return  # CuPy has no byte-swapped arrays
    words = f"has dtype {np.dtype(dtype)}", "this RNN computes in float32", ".astype('float32')"
    with one_line(TypeError, "x ", *words):
        rnn.forward(zeros(backend, N, D, dtype=dtype))
    x = zeros(backend, N, D)
    with one_line(TypeError, "h_prev ", *words):
        rnn.forward(x, zeros(backend, N, H, dtype=dtype))
    rnn.forward(x)
    with one_line(TypeError, "dh_next ", *words):
        rnn.backward(zeros(backend, N, H, dtype=dtype))


@pytest.mark.parametrize(
    ("value", "kind"),
    [([[0.0] * D] * N, "list"), (None, "NoneType"), (1.5, "float"), ("x", "str"), (np.float32(1), "numpy.float32")],
)
def test_what_is_no_array(backend: Backend, rnn: RNN, value: Any, kind: str) -> None:
    with one_line(TypeError, f"x is a {kind}", "expected an array of", "use xrnn.asarray(x)"):
        rnn.forward(value)
    with one_line(TypeError, f"dh_next is a {kind}", "expected an array of", "use xrnn.asarray(dh_next)"):
        rnn.forward(zeros(backend, N, D))
        rnn.backward(value)
    with one_line(TypeError, f"b is a {kind}", "expected an array of", "use xrnn.asarray(b)"):
        RNN(rnn.params[0], rnn.params[1], value)
    if value is not None:
        with one_line(TypeError, f"h_prev is a {kind}", "expected an array of", "use xrnn.asarray(h_prev)"):
            rnn.forward(zeros(backend, N, D), value)


def test_subclasses_of_numpy_arrays() -> None:
    rnn = RNN.init(D, H, rng=0, backend="numpy")
    x = np.zeros((N, D), "float32")
    with one_line(TypeError, "x is a numpy.ma.MaskedArray", "x.filled(0)"):
        rnn.forward(np.ma.masked_equal(x, 0))
    with one_line(TypeError, "x is a numpy.matrix", "xrnn.asarray(x)"), pytest.warns(PendingDeprecationWarning):
        rnn.forward(np.matrix(x))
    with one_line(TypeError, "Wx is a numpy.ma.MaskedArray", "Wx.filled(0)"):
        RNN(np.ma.masked_equal(rnn.params[0], 0), rnn.params[1], rnn.params[2])
    with one_line(TypeError, "array is a numpy.ma.MaskedArray", "array.filled(0)"):
        asarray(np.ma.masked_equal(x, 0))


def test_arrays_of_another_backend(backend: Backend, rnn: RNN) -> None:
    other: Any = standin if backend.name == "numpy" else np
    kind = {"numpy": "cupy.ndarray", "cupy": "numpy.ndarray"}[backend.name]
    words = "this RNN is on", f"backend={backend.name!r}", "XRNN_BACKEND=numpy"
    with one_line(TypeError, f"x is a {kind}", "use xrnn.asarray(x,", *words):
        rnn.forward(other.zeros((N, D), "float32"))
    x = zeros(backend, N, D)
    with one_line(TypeError, f"h_prev is a {kind}", *words):
        rnn.forward(x, other.zeros((N, H), "float32"))
    rnn.forward(x)
    with one_line(TypeError, f"dh_next is a {kind}", *words):
        rnn.backward(other.zeros((N, H), "float32"))
    with one_line(TypeError, f"b is a {kind}", *words):
        RNN(rnn.params[0], rnn.params[1], other.zeros(H, "float32"))


def test_arrays_of_another_device() -> None:
    weights = [standin.zeros(shape, "float32") for shape in [(D, H), (H, H), (H,)]]
    rnn = RNN(*weights)
    with standin.cuda.Device(1):
        x, h_prev, b = standin.zeros((N, D), "float32"), standin.zeros((N, H), "float32"), standin.zeros(H, "float32")
    words = "<CUDA Device 1>", "this RNN is on <CUDA Device 0>", "same cupy.cuda.Device"
    with one_line(ValueError, "x is on", *words):
        rnn.forward(x)
    here = standin.zeros((N, D), "float32")
    with one_line(ValueError, "h_prev is on", *words):
        rnn.forward(here, h_prev)
    rnn.forward(here)
    with one_line(ValueError, "dh_next is on", *words):
        rnn.backward(h_prev)
    with one_line(ValueError, "b is on", *words):
        RNN(weights[0], weights[1], b)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(D, H), (H, H + 1), (H,)], ["Wh has shape (5, 6)", "expects (H, H)"]),
        ([(D, H), (H,), (H,)], ["Wh has shape (5,)", "expects (H, H)"]),
        ([(D, H), (), (H,)], ["Wh has shape ()", "expects (H, H)"]),
        ([(H, D), (H, H), (H,)], ["Wx has shape (5, 3)", "expects (D, 5)", "Wh is (5, 5)"]),
        ([(H,), (H, H), (H,)], ["Wx has shape (5,)", "expects (D, 5)", "Wh is (5, 5)"]),
        ([(D, H), (H, H), (1, H)], ["b has shape (1, 5)", "expects (5,)", "Wh is (5, 5)"]),
        ([(D, H), (H, H), (D,)], ["b has shape (3,)", "expects (5,)", "Wh is (5, 5)"]),
    ],
)
def test_weights_that_do_not_fit(backend: Backend, shapes: list[tuple[int, ...]], words: list[str]) -> None:
    with one_line(ValueError, *words):
        RNN(*(zeros(backend, *shape) for shape in shapes))


@pytest.mark.parametrize("dtype", ["int32", "float16", "complex128", "bool"])
def test_weights_of_a_wrong_dtype(backend: Backend, dtype: str) -> None:
    shapes = [(D, H), (H, H), (H,)]
    with one_line(TypeError, f"Wx has dtype {dtype}", "expected float32 or float64", "Wx.astype('float32')"):
        RNN(*(zeros(backend, *shape, dtype=dtype) for shape in shapes))
    weights = [zeros(backend, *shape) for shape in shapes]
    with one_line(TypeError, f"Wh has dtype {dtype}", "computes in float32", "Wh.astype('float32')"):
        RNN(weights[0], weights[1].astype(dtype), weights[2])


def test_byte_swapped_weights() -> None:
    weights = [np.zeros(shape, ">f8") for shape in [(D, H), (H, H), (H,)]]
    with one_line(TypeError, "Wx has dtype >f8", "expected float32 or float64"):
        RNN(*weights)


def test_unknown_nonlinearity(backend: Backend, rnn: RNN) -> None:
    with one_line(ValueError, "unknown nonlinearity 'sigmoid'", "expected one of tanh, relu"):
        RNN(*rnn.params, nonlinearity="sigmoid")  # type: ignore[arg-type]
    with one_line(ValueError, "unknown nonlinearity 'Tanh'", "expected one of tanh, relu"):
        RNN.init(D, H, nonlinearity="Tanh", backend=backend)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1.5, 3.0, "3", None, True, np.float32(2)])
def test_sizes_that_are_no_integers(size: Any) -> None:
    with one_line(TypeError, f"input_size is {size!r}", "expected an integer, at least 1", "int(input_size)"):
        RNN.init(size, H, backend="numpy")
    with one_line(TypeError, f"hidden_size is {size!r}", "expected an integer, at least 1"):
        RNN.init(D, size, backend="numpy")


def test_sizes_below_one() -> None:
    for size in (0, -2):
        with one_line(ValueError, f"input_size is {size}", "expected an integer, at least 1"):
            RNN.init(size, H, backend="numpy")
        with one_line(ValueError, f"hidden_size is {size}", "expected an integer, at least 1"):
            RNN.init(D, size, backend="numpy")


def test_init_of_an_unknown_dtype_or_rng() -> None:
    for dtype in ("int32", "float16", "flot32", None, 32):
        with one_line(TypeError, f"dtype is {dtype!r}", "expected 'float32' or 'float64'"):
            RNN.init(D, H, dtype=dtype, backend="numpy")
    for rng in ("seed", 1.5):
        with one_line(
            TypeError, f"rng is {rng!r}", "expected a seed (an integer from 0), a numpy.random.Generator or None"
        ):
            RNN.init(D, H, rng=rng, backend="numpy")  # type: ignore[arg-type]
    with one_line(ValueError, "rng is -1", "expected a seed"):
        RNN.init(D, H, rng=-1, backend="numpy")
