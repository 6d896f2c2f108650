"""The recurrent layers refuse wrong arguments on entry. The error says in one line: got, expected, remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import standin
from tests.conftest import STANDIN
from tests.errors import one_line
from tests.standin.counting import no_waiting
from xrnn import GRU, LSTM, RNN, SGD, Adam, Bidirectional, Cell, Embedding, Linear, Recurrent, Stack, asarray
from xrnn.backend import Backend
from xrnn.ops.cell import StepArrays
from xrnn.ops.cells.gru import GRUCell
from xrnn.ops.cells.lstm import LSTMCell

D, H, T, N = 3, 5, 6, 4


@pytest.fixture
def rnn(backend: Backend) -> RNN:
    return RNN.init(D, H, rng=0, backend=backend)


def zeros(backend: Backend, *shape: int, dtype: str = "float32") -> Any:
    return backend.xp.zeros(shape, dtype)


@pytest.mark.parametrize("shape", [(), (D,), (N, D - 1), (N, D + 1), (T, N, D + 1), (N, D, T), (2, T, N, D)], ids=str)
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


class TwoMemories(LSTMCell):
    """An LSTM with a third state, which never changes."""

    states: tuple[str, ...] = ("h", "c", "m")  # type: ignore[assignment]

    def step(self, run: Any, at: Any) -> None:
        at.after[2][...] = at.before[2]
        super().step(run, StepArrays(at.z, at.before[:2], at.after[:2], at.kept))


def test_states_after_a_missing_one_are_checked(backend: Backend) -> None:
    lstm, wide = LSTM.init(D, H, rng=0, backend=backend), Recurrent.init(TwoMemories(), D, H, rng=0, backend=backend)
    x, h, bad = zeros(backend, T, N, D), zeros(backend, T, N, H), zeros(backend, N, H + 1)
    with one_line(ValueError, "c_prev has shape (4, 6)", "expects (4, 5)"):
        lstm.forward(x, None, bad)
    with one_line(ValueError, "m_prev has shape (4, 6)", "expects (4, 5)"):
        wide.forward(x, None, None, bad)
    wide.forward(x)
    with one_line(ValueError, "dm has shape (4, 6)", "expects (6, 4, 5)"):
        wide.backward(h, None, bad)


@pytest.mark.parametrize("shape", [(), (N, H), (T, N, D), (T, N + 1, H), (T + 1, N, H), (1, T, N, H)], ids=str)
def test_wrong_shape_of_dh_next(backend: Backend, rnn: RNN, shape: tuple[int, ...]) -> None:
    rnn.forward(zeros(backend, T, N, D))
    with one_line(ValueError, f"dh_next has shape {shape}", "expects (6, 4, 5)", "what the last forward returned"):
        rnn.backward(zeros(backend, *shape))


@pytest.mark.usefixtures("form")
def test_wrong_shape_of_dh_next_after_one_step(backend: Backend, rnn: RNN) -> None:
    rnn.forward(zeros(backend, N, D))
    with one_line(ValueError, "dh_next has shape (1, 4, 5)", "expects (4, 5)", "what the last forward returned"):
        rnn.backward(zeros(backend, 1, N, H))


def test_backward_before_forward(backend: Backend, rnn: RNN) -> None:
    rnn(zeros(backend, N, D))  # a call keeps no cache
    with one_line(RuntimeError, "backward needs a forward before it", "call forward(x, h_prev) first"):
        rnn.backward(zeros(backend, N, H))


def _remedy(dtype: str) -> str:
    return ".real and " if dtype.startswith("complex") else ".astype('float32')"


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "bool", "complex64", ">f4"])
def test_wrong_dtype(backend: Backend, rnn: RNN, dtype: str) -> None:
    if dtype == ">f4" and backend.name == "cupy":
        return  # CuPy has no byte-swapped arrays
    words = f"has dtype {np.dtype(dtype)}", "this RNN computes in float32", _remedy(dtype)
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
def test_objects_that_are_not_arrays(backend: Backend, rnn: RNN, value: Any, kind: str) -> None:
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
    words = "<CUDA Device 1>", "this RNN is on <CUDA Device 0>", "create both on one device"
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
    with one_line(TypeError, f"Wx has dtype {dtype}", "expected float32 or float64", f"Wx{_remedy(dtype)}"):
        RNN(*(zeros(backend, *shape, dtype=dtype) for shape in shapes))
    weights = [zeros(backend, *shape) for shape in shapes]
    with one_line(TypeError, f"Wh has dtype {dtype}", "computes in float32", f"Wh{_remedy(dtype)}"):
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
def test_sizes_that_are_not_integers(size: Any) -> None:
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
            RNN.init(D, H, dtype=dtype, backend="numpy")  # type: ignore[arg-type]
    for rng in ("seed", 1.5):
        with one_line(
            TypeError, f"rng is {rng!r}", "expected a seed (an integer from 0), a numpy.random.Generator or None"
        ):
            RNN.init(D, H, rng=rng, backend="numpy")  # type: ignore[arg-type]
    with one_line(ValueError, "rng is -1", "expected a seed"):
        RNN.init(D, H, rng=-1, backend="numpy")


# ---- leak ----


@pytest.mark.parametrize("leak", [0, 0.0, -0.1, 1.001, 2, np.float32(-1), float("nan"), float("inf")])
def test_leaks_outside_their_range(backend: Backend, rnn: RNN, leak: Any) -> None:
    words = f"leak is {leak}", "expected a number in (0, 1], or an array of 5", "leave it out for a layer without leak"
    with one_line(ValueError, *words):
        RNN(*rnn.params, leak=leak)
    with one_line(ValueError, *words):
        RNN.init(D, H, leak=leak, backend=backend)


@pytest.mark.parametrize("leak", [True, "0.5", object, {0.5}, 0.5j])
def test_leaks_that_are_not_numbers(rnn: RNN, leak: Any) -> None:
    words = f"leak is {leak!r}", "expected a number in (0, 1], or an array of 5", "use float(leak)"
    with one_line(TypeError, *words):
        RNN(*rnn.params, leak=leak)


@pytest.mark.parametrize("shape", [(), (1,), (H + 1,), (1, H), (H, 1)], ids=str)
def test_leaks_of_another_shape(backend: Backend, rnn: RNN, shape: tuple[int, ...]) -> None:
    for leak in (backend.xp.full(shape, 0.5), np.full(shape, 0.5)):
        with one_line(
            ValueError, f"leak has shape {shape}", "an array of 5 such numbers, one for each unit", "b is (5,)"
        ):
            RNN(*rnn.params, leak=leak)
    if len(shape) == 1:
        with one_line(ValueError, f"leak has shape {shape}", "an array of 5"):
            RNN(*rnn.params, leak=[0.5] * shape[0])


@pytest.mark.parametrize("dtype", ["bool", "complex64", "str", "object"])
def test_leaks_of_another_dtype(rnn: RNN, dtype: str) -> None:
    for given in (np.ones(H).astype(dtype), np.ones(2000).astype(dtype)):
        words = f"leak has dtype {given.dtype}", "expected a number in (0, 1]", f"use leak{_remedy(dtype)}"
        with one_line(TypeError, *words):
            RNN(*rnn.params, leak=given)


@pytest.mark.parametrize("bad", [0, -0.1, 1.001, np.nan])
def test_arrays_of_leaks_with_one_out_of_range(rnn: RNN, bad: float) -> None:
    leak = [0.5, 0.5, bad, 0.5, 1]
    for given in (leak, tuple(leak), np.array(leak)):
        with one_line(ValueError, "leak holds values from", "expected numbers in (0, 1]", "check them"):
            RNN(*rnn.params, leak=given)


@pytest.mark.parametrize("kind", [list, np.array])
def test_the_range_of_leaks_is_checked_in_the_dtype_of_the_layer(rnn: RNN, kind: Any) -> None:
    """In float32, 1e-50 is 0 and 1 + 1e-9 is 1."""
    with one_line(ValueError, "leak holds values from 0.0 to", "expected numbers in (0, 1]"):
        RNN(*rnn.params, leak=kind([0.5, 0.5, 1e-50, 0.5, 1]))
    RNN(*rnn.params, leak=kind([0.5, 0.5, 1 + 1e-9, 0.5, 1]))


def test_ragged_lists_of_leaks(rnn: RNN) -> None:
    with one_line(
        TypeError, "leak is a list of lists of unequal lengths", "expected a number in (0, 1], or 5, one for each unit"
    ):
        RNN(*rnn.params, leak=[[0.5], [0.5, 0.5]])  # type: ignore[list-item]


def test_leaks_on_another_backend_or_device() -> None:
    with one_line(TypeError, "leak is a cupy.ndarray", "but b is on the numpy backend", "xrnn.asarray(leak,"):
        RNN(*RNN.init(D, H, backend="numpy").params, leak=standin.ones(H))
    with one_line(TypeError, "leak is a numpy.ma.MaskedArray", "leak.filled(0)"):
        RNN(*RNN.init(D, H, backend="numpy").params, leak=np.ma.masked_equal(np.ones(H), 0))
    on_device = RNN.init(D, H, backend=STANDIN)
    with standin.cuda.Device(1):
        elsewhere, others = standin.ones(H), [standin.zeros(s) for s in [(D, H), (H, H), (H,)]]
    with one_line(ValueError, "leak is on device <CUDA Device 1>, but b is on <CUDA Device 0>"):
        RNN(*on_device.params, leak=elsewhere)
    layer: Any = RNN(*others, leak=[0.5] * H)  # a leak on the host is copied to the device of the weights
    assert layer.cell.leak.device == standin.cuda.Device(1)
    with no_waiting():  # a leak on a GPU is not read
        RNN(*on_device.params, leak=standin.ones(H))


# ---- lengths ----


@pytest.fixture(params=[RNN, LSTM, GRU])
def layer(request: pytest.FixtureRequest, backend: Backend) -> Any:
    return request.param.init(D, H, rng=0, backend=backend)


@pytest.mark.parametrize("shape", [(), (N + 1,), (N - 1,), (N, 1), (0,)], ids=str)
def test_lengths_of_another_shape(backend: Backend, layer: Any, shape: tuple[int, ...]) -> None:
    x = zeros(backend, T, N, D)
    for lengths in (zeros(backend, *shape, dtype="int64"), np.zeros(shape, "int32")):
        for run in (layer.forward, layer):
            with one_line(ValueError, f"lengths has shape {shape}", "expected (4,), one for each row of x"):
                run(x, lengths=lengths)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "complex64"])
def test_lengths_of_another_dtype(backend: Backend, layer: Any, dtype: str) -> None:
    x, words = zeros(backend, T, N, D), (f"lengths has dtype {dtype}", "expected integers", "'int64'")
    for lengths in (zeros(backend, N, dtype=dtype), np.zeros(N, dtype), list(np.zeros(N, dtype))):
        with one_line(TypeError, *words):
            layer.forward(x, lengths=lengths)


@pytest.mark.parametrize("lengths", [5, 1.5, "3", None.__class__, {1, 2}])
def test_lengths_that_are_not_arrays(backend: Backend, layer: Any, lengths: Any) -> None:
    with one_line(TypeError, "lengths is a ", "expected an array of", "use xrnn.asarray(lengths)"):
        layer.forward(zeros(backend, T, N, D), lengths=lengths)


def test_ragged_lists_of_lengths(backend: Backend, layer: Any) -> None:
    with one_line(
        TypeError, "lengths is a list of lists of unequal lengths", "expected integers, one for each row of x"
    ):
        layer.forward(zeros(backend, T, N, D), lengths=[[1], [1, 2], 3, 4])


@pytest.mark.parametrize("bad", [-1, T + 1])
def test_lengths_out_of_range(backend: Backend, layer: Any, bad: int) -> None:
    x, lengths = zeros(backend, T, N, D), [3, bad, 0, T]
    words = f"lengths holds values from {min(lengths)} to {max(lengths)}", "expected 0 to 6", "check them, or pad x"
    for on_host in (lengths, np.array(lengths, "int16")):
        with one_line(ValueError, *words):
            layer.forward(x, lengths=on_host)
    on_device = backend.asarray(np.array(lengths))
    if backend.reads_are_free:
        with one_line(ValueError, *words):
            layer.forward(x, lengths=on_device)


@pytest.mark.parametrize(("bad", "clamped"), [(-3, 0), (T + 9, T)])
def test_lengths_on_a_device_are_clamped_without_a_read(bad: int, clamped: int) -> None:
    for kind in (RNN, LSTM, GRU):
        layer: Any = kind.init(D, H, rng=0, backend=STANDIN)
        x = STANDIN.asarray(np.random.default_rng(0).standard_normal((T, N, D)).astype("float32"))
        given, right = (STANDIN.asarray(np.array([3, length, 0, T])) for length in (bad, clamped))
        expected = layer(x, lengths=right)
        with no_waiting():
            found = layer.forward(x, lengths=given)
            h = found[0] if isinstance(found, tuple) else found
            layer.backward(h)
        want = expected[0] if isinstance(expected, tuple) else expected
        np.testing.assert_array_equal(STANDIN.to_numpy(h), STANDIN.to_numpy(want))


def test_lengths_on_another_backend_or_device() -> None:
    x = np.zeros((T, N, D), "float32")
    with one_line(TypeError, "lengths is a cupy.ndarray", "this LSTM is on the numpy backend", "asarray(lengths,"):
        LSTM.init(D, H, backend="numpy").forward(x, lengths=standin.zeros(N, "int64"))
    layer = LSTM.init(D, H, backend=STANDIN)
    with standin.cuda.Device(1):
        lengths = standin.zeros(N, "int64")
        other = LSTM(*(standin.zeros(p.shape, "float32") for p in layer.params))
        on_other = standin.zeros((T, N, D), "float32")
    with one_line(ValueError, "lengths is on device <CUDA Device 1>", "this LSTM is on <CUDA Device 0>"):
        layer.forward(STANDIN.asarray(x), lengths=lengths)
    h, _ = other.forward(on_other, lengths=[1] * N)  # lengths on the host are copied to the device of the layer
    assert h.device == standin.cuda.Device(1)


def test_lengths_for_one_step(backend: Backend, layer: Any) -> None:
    x = zeros(backend, N, D)
    for run in (layer.forward, layer, Stack([layer]).forward):
        with one_line(ValueError, "got lengths for one step", "expected a sequence, x (T, N, D)", "leave lengths out"):
            run(x, lengths=[1] * N)


# ---- states and their gradients ----


def test_states_of_another_length(backend: Backend) -> None:
    lstm, x = LSTM.init(D, H, rng=0, backend=backend), zeros(backend, T, N, D)
    h, short = zeros(backend, N, H), zeros(backend, N - 1, H)
    with one_line(ValueError, "h_prev has shape (3, 5), but this LSTM expects (4, 5)", "N as in x, H as in Wh"):
        lstm.forward(x, short, h)
    with one_line(ValueError, "c_prev has shape (3, 5), but this LSTM expects (4, 5)", "N as in x, H as in Wh"):
        lstm(x, h, short)
    with one_line(TypeError, "c_prev has dtype float64", "this LSTM computes in float32", "c_prev.astype('float32')"):
        lstm(x, h, zeros(backend, N, H, dtype="float64"))
    with one_line(ValueError, "h_prev has shape (3, 5), but this LSTM expects (4, 5)"):
        lstm.stream(x, (short, h))
    for state in (h, (h,), (h, h, h)):
        with one_line(ValueError, "state", "this LSTM expects 2, h and c", "pass the state that it returned"):
            lstm.stream(x, state)
    gru = GRU.init(D, H, rng=0, backend=backend)
    with one_line(ValueError, "got 2 states", "this GRU expects 1, h", "pass the state that it returned"):
        gru.stream(x, (h, h))


@pytest.mark.usefixtures("form")
def test_gradients_of_another_shape_or_dtype_are_refused_before_anything_is_written(backend: Backend) -> None:
    lstm = LSTM.init(D, H, rng=0, backend=backend)
    h, c = lstm.forward(zeros(backend, T, N, D))
    for grad in lstm.grads:
        grad[...] = 7
    with one_line(ValueError, "dh has shape (5, 4, 5), but this LSTM expects (6, 4, 5)", "the last forward returned"):
        lstm.backward(h[1:], c)
    with one_line(ValueError, "dc has shape (4, 5), but this LSTM expects (6, 4, 5)", "the last forward returned"):
        lstm.backward(h, c[0])
    with one_line(TypeError, "dc has dtype float64", "this LSTM computes in float32", "dc.astype('float32')"):
        lstm.backward(h, c.astype("float64"))
    with one_line(TypeError, "dh is a NoneType", "expected an array of", "use xrnn.asarray(dh)"):
        lstm.backward(None, c)  # type: ignore[arg-type]
    assert all((grad == 7).all() for grad in lstm.grads)


def test_a_dc_for_a_layer_without_c(backend: Backend) -> None:
    x = zeros(backend, T, N, D)
    for kind in (RNN, GRU):
        layer: Any = kind.init(D, H, rng=0, backend=backend)
        h = layer.forward(x)
        with one_line(TypeError, "backward() takes 2 positional arguments but 3 were given"):
            layer.backward(h, h)
        with one_line(TypeError, "backward() got an unexpected keyword argument 'dc'"):
            layer.backward(h, dc=h)
        stack = Stack([layer])
        stack.forward(x)
        with one_line(ValueError, "got 2 states", f"this {kind.__name__} expects 1, h"):
            stack.backward(h, ((h[0], h[0]),))
    own = Recurrent.init(GRUCell(), D, H, rng=0, backend=backend)
    h = own.forward(x)
    with one_line(TypeError, "got 2 states, but the cell 'gru' has 1, h", "leave the others out"):
        own.backward(h, h)


# ---- streams, caches, and weights that change ----


def test_a_stream_in_reverse(backend: Backend) -> None:
    for kind in (RNN, LSTM, GRU):
        layer: Any = kind.init(D, H, reverse=True, backend=backend)
        words = f"this {kind.__name__} runs in reverse", "expected a layer that runs forward", "without reverse=True"
        with one_line(ValueError, *words):
            layer.stream(zeros(backend, T, N, D))


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_an_update_between_forward_and_backward(backend: Backend, layer: Any, optimizer: Any) -> None:
    results = layer.forward(zeros(backend, T, N, D))
    h, kept = results[0] if isinstance(results, tuple) else results, layer.cache
    layer.backward(h)
    update = optimizer([layer])
    update.step()
    title = type(layer).__name__
    words = f"the weights of this {title} have been updated since that forward", "call backward before the update"
    with one_line(RuntimeError, *words):
        layer.backward(h)
    layer.forward(zeros(backend, T, N, D))
    layer.backward(h)
    with one_line(RuntimeError, *words):
        layer.backward(h, cache=kept)


def test_an_update_through_a_stack(backend: Backend) -> None:
    inner, outer = (LSTM.init(H, H, rng=i, backend=backend) for i in range(2))
    stack, linear = Stack([inner, Stack([outer])]), Linear.init(H, 2, rng=0, backend=backend)
    optimizer = SGD([stack, linear])
    for _ in range(2):
        h, _ = stack.forward(zeros(backend, T, N, H))
        dy = linear.forward(h)
        stack.backward(linear.backward(dy))
        optimizer.step()
        with one_line(RuntimeError, "the weights of this LSTM have been updated since that forward", "forward again"):
            stack.backward(h)
        with one_line(RuntimeError, "the weights of this Linear have been updated since that forward"):
            linear.backward(dy)
        with one_line(RuntimeError, "the weights of this LSTM have been updated since that forward"):
            outer.backward(h)


@pytest.mark.parametrize("cache", [5, "x", (1, 2)])
def test_objects_that_are_not_caches(backend: Backend, layer: Any, cache: Any) -> None:
    both = Bidirectional.init(RNN, D, H, rng=0, backend=backend)
    for owner in (layer, Stack([layer]), both, Linear.init(D, H, rng=0, backend=backend)):
        results = owner.forward(zeros(backend, T, N, D))
        h = results[0] if isinstance(results, tuple) else results
        with one_line(TypeError, f"cache is a {type(cache).__name__}", "expected this layer's own", "layer.cache"):
            owner.backward(h, cache=cache)


def test_a_cache_of_another_layer(backend: Backend, layer: Any) -> None:
    other = type(layer).init(D, H, rng=1, backend=backend)
    results = other.forward(zeros(backend, T, N, D))
    h = results[0] if isinstance(results, tuple) else results
    with one_line(
        ValueError, f"cache is of another layer: expected one of this {type(layer).__name__}", "take layer.cache"
    ):
        layer.backward(h, cache=other.cache)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_weights_replaced_between_forward_and_backward(backend: Backend, layer: Any, which: int) -> None:
    results = layer.forward(zeros(backend, T, N, D))
    h = results[0] if isinstance(results, tuple) else results
    layer.params[which] = layer.params[which].copy()
    title = type(layer).__name__
    with one_line(RuntimeError, f"the weights of this {title} have been replaced since that forward", "it ran with"):
        layer.backward(h)


# ---- likely mistakes ----


def test_a_gru_without_b_hn(backend: Backend) -> None:
    weights = [zeros(backend, *shape) for shape in [(D, 3 * H), (H, 3 * H), (3 * H,)]]
    with one_line(ValueError, "b has shape (15,)", "expects (20,)", "append b_hn", "reset_after=False"):
        GRU(*weights)
    assert GRU(*weights, reset_after=False).hidden_size == H


@pytest.mark.parametrize("value", ["no", 1, None])
def test_invalid_flags(backend: Backend, value: Any) -> None:
    with one_line(TypeError, f"reverse is {value!r}", "expected True or False"):
        LSTM.init(D, H, reverse=value, backend=backend)
    gru = GRU.init(D, H, backend=backend)
    with one_line(TypeError, f"reset_after is {value!r}", "expected True or False"):
        GRU(*gru.params, reset_after=value)
    lstm, linear = LSTM.init(D, H, backend=backend), Linear.init(D, H, backend=backend)
    layers: list[Any] = [gru, lstm, linear, Stack.init(RNN, D, H, backend=backend)]
    for layer in layers:
        results = layer.forward(zeros(backend, T, N, D) + 1)
        y = results[0] if isinstance(results, tuple) else results
        with one_line(TypeError, f"needs_dx is {value!r}", "expected True or False"):
            layer.backward(y, needs_dx=value)
        assert not any(backend.to_numpy(g).any() for g in layer.grads)


def test_caches_of_other_stacks_and_layers(backend: Backend) -> None:
    x = zeros(backend, T, N, D)
    deep, shallow = (Stack.init(RNN, D, H, depth, backend=backend) for depth in (3, 2))
    h, _ = deep.forward(x)
    shallow.forward(x)
    with one_line(ValueError, "cache is of another Stack", "take stack.cache"):
        deep.backward(h, cache=shallow.cache)
    both = Bidirectional.init(GRU, D, H, backend=backend)
    h, _ = both.forward(x)
    for cache in ([], [None, None]):
        with one_line(ValueError, "cache is not of this Bidirectional", "take layer.cache"):
            both.backward(h, cache=cache)
    embedding = Embedding.init(5, 2, backend=backend)
    y = embedding.forward(backend.asarray(np.zeros((3,), "int64")))
    with one_line(TypeError, "cache is a str"):
        embedding.backward(y, cache="junk")  # type: ignore[arg-type]


def test_the_dropout_of_a_stack_of_one_layer_is_checked(backend: Backend) -> None:
    with one_line(ValueError, "dropout is 7", "expected a probability in [0, 1)"):
        Stack([RNN.init(D, H, backend=backend)], dropout=7)


def test_a_class_instead_of_a_cell() -> None:
    wrong: Any = GRUCell
    with one_line(TypeError, "cell is a type", "expected an instance of a subclass of xrnn.Cell"):
        Recurrent.init(wrong, D, H, backend="numpy")
    with one_line(NotImplementedError, "the cell 'cell' has no step"):
        Recurrent.init(Cell(), D, H, backend="numpy").forward(np.zeros((N, D), "float32"))
    with one_line(TypeError, "params of Bad is ('b',)", "expected a tuple of names"):
        type("Bad", (Cell,), {"params": ("b",)})
