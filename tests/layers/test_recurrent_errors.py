"""The recurrent layers refuse wrong arguments on entry. The error says in one line: got, expected, remedy.

`test_bad_input.py` gives each array argument of each layer something that is no array of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import standin
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.layers.kinds import first
from tests.standin.counting import no_waiting
from xrnn import GRU, LSTM, RNN, SLSTM, Bidirectional, Cell, Linear, Recurrent, Stack, asarray
from xrnn.backend import Backend
from xrnn.ops.cells.gru import GRUCell

D, H, T, N = 3, 5, 6, 4


@pytest.fixture
def rnn(backend: Backend) -> RNN:
    return RNN.init(D, H, rng=0, backend=backend)


@pytest.fixture(params=[RNN, LSTM, GRU])
def layer(request: pytest.FixtureRequest, backend: Backend) -> Any:
    return request.param.init(D, H, rng=0, backend=backend)


def zeros(backend: Backend, *shape: int, dtype: str = "float32") -> Any:
    return backend.xp.zeros(shape, dtype)


# ---- x, states and their gradients ----


def test_wrong_shapes(backend: Backend, rnn: RNN) -> None:
    step, sequence = zeros(backend, N, D), zeros(backend, T, N, D)
    words = "(N, 3)", "(T, N, 3)", "Wx is (3, 5)", "x[None]"
    shapes = [(), (D,), (N, D - 1), (N, D + 1), (T, N, D + 1), (2, T, N, D)]
    refused(
        *(
            (ValueError, lambda run=run, s=shape: run(zeros(backend, *s)), f"x has shape {shape}", *words)
            for run in (rnn.forward, rnn)
            for shape in shapes
        ),
        *(
            (ValueError, lambda x=x, s=shape: rnn.forward(x, zeros(backend, *s)), f"h_prev has shape {shape}", "(4, 5)")
            for x in (step, sequence)
            for shape in [(), (N, H + 1), (N - 1, H), (1, N, H)]
        ),
    )
    for x, expected in ((sequence, (T, N, H)), (step, (N, H))):
        rnn.forward(x)
        for shape in [(), (T, N, D), (T, N + 1, H), (T - 1, N, H), (1, N, H)]:
            with one_line(ValueError, f"dh_next has shape {shape}, but this RNN expects {expected}: the shape of"):
                rnn.backward(zeros(backend, *shape))


def test_every_state_is_checked_also_after_a_missing_one(backend: Backend) -> None:
    kinds: list[Any] = [LSTM, GRU, SLSTM]
    lstm, gru, slstm = (kind.init(D, H, rng=0, backend=backend) for kind in kinds)
    own = Recurrent.init(GRUCell(), D, H, rng=0, backend=backend)
    x, h, one = zeros(backend, T, N, D), zeros(backend, T, N, H), zeros(backend, N, H)
    short, bad = zeros(backend, N - 1, H), zeros(backend, N, H + 1)
    stack = Stack([gru])
    for each in (slstm, own, stack):
        each.forward(x)
    two = "this LSTM expects 2, h and c", "pass the state that it returned"
    refused(
        *((ValueError, lambda s=s: lstm.stream(x, s), *two) for s in (one, (one,), (one, one, one))),
        (ValueError, lambda: lstm.forward(x, None, bad), "c_prev has shape (4, 6), but this LSTM expects (4, 5)"),
        (ValueError, lambda: slstm.forward(x, None, None, None, bad), "m_prev has shape (4, 6)", "expects (4, 5)"),
        (ValueError, lambda: slstm.backward(h, None, bad), "dn has shape (4, 6)", "expects (6, 4, 5)"),
        (ValueError, lambda: lstm.stream(x, (short, one)), "h_prev has shape (3, 5), but this LSTM expects (4, 5)"),
        (ValueError, lambda: gru.stream(x, (one, one)), "got 2 states", "this GRU expects 1, h"),
        (TypeError, lambda: own.backward(h, h), "got 2 states, but the cell 'gru' has 1, h", "leave the others out"),
        (ValueError, lambda: stack.backward(h, ((one, one),)), "got 2 states", "this GRU expects 1, h"),
    )


@pytest.mark.usefixtures("form")
def test_gradients_of_another_shape_or_dtype_are_refused_before_anything_is_written(backend: Backend) -> None:
    lstm = LSTM.init(D, H, rng=0, backend=backend)
    h, c = lstm.forward(zeros(backend, T, N, D))
    for grad in lstm.grads:
        grad[...] = 7
    refused(
        (ValueError, lambda: lstm.backward(h[1:], c), "dh has shape (5, 4, 5), but this LSTM expects (6, 4, 5)"),
        (ValueError, lambda: lstm.backward(h, c[0]), "dc has shape (4, 5), but this LSTM expects (6, 4, 5)"),
        (TypeError, lambda: lstm.backward(h, c.astype("float64")), "dc has dtype float64", "dc.astype('float32')"),
        (TypeError, lambda: lstm.backward(h, needs_dx=1), "needs_dx is 1", "expected True or False"),  # type: ignore[arg-type]
    )
    assert all((grad == 7).all() for grad in lstm.grads)


# Calls of a layer with one array that is wrong, by the name in the error.
CALLS: dict[str, tuple[tuple[int, ...], Callable[[RNN, Any, Any], object]]] = {
    "x": ((N, D), lambda rnn, x, bad: rnn.forward(bad)),
    "h_prev": ((N, H), lambda rnn, x, bad: rnn.forward(x, bad)),
    "dh_next": ((N, H), lambda rnn, x, bad: (rnn.forward(x), rnn.backward(bad))),
    "b": ((H,), lambda rnn, x, bad: RNN(rnn.params[0], rnn.params[1], bad)),
}


def _remedy(dtype: str) -> str:
    return ".real and " if dtype.startswith("complex") else ".astype('float32')"


@pytest.mark.parametrize("name", CALLS)
def test_other_dtypes_objects_backends_and_devices(backend: Backend, rnn: RNN, name: str) -> None:
    shape, call = CALLS[name]
    x = zeros(backend, N, D)
    for dtype in ("float64", "int64", "complex64", *[">f4"] * (backend.name == "numpy")):
        words = f"{name} has dtype {np.dtype(dtype)}", "this RNN computes in float32", _remedy(dtype)
        with one_line(TypeError, *words):
            call(rnn, x, zeros(backend, *shape, dtype=dtype))
    with one_line(TypeError, f"{name} is a list: expected an array of", f"use xrnn.asarray({name})"):
        call(rnn, x, [[0.0] * D] * N)
    other: Any = standin if backend.name == "numpy" else np
    kind = {"numpy": "cupy.ndarray", "cupy": "numpy.ndarray"}[backend.name]
    with one_line(TypeError, f"{name} is a {kind}", "this RNN is on", f"backend={backend.name!r}", "XRNN_BACKEND=nu"):
        call(rnn, x, other.zeros(shape, "float32"))
    if backend is STANDIN:
        with standin.cuda.Device(1):
            elsewhere = standin.zeros(shape, "float32")
        with one_line(ValueError, f"{name} is on device <CUDA Device 1>", "this RNN is on <CUDA Device 0>: create bo"):
            call(rnn, x, elsewhere)


def test_subclasses_of_numpy_arrays() -> None:
    rnn = RNN.init(D, H, rng=0, backend="numpy")
    x = np.zeros((N, D), "float32")
    masked = np.ma.masked_equal(x, 0)
    refused(
        (TypeError, lambda: rnn.forward(masked), "x is a numpy.ma.MaskedArray", "x.filled(0)"),
        (TypeError, lambda: asarray(masked), "array is a numpy.ma.MaskedArray", "array.filled(0)"),
    )
    with one_line(TypeError, "x is a numpy.matrix", "xrnn.asarray(x)"), pytest.warns(PendingDeprecationWarning):
        rnn.forward(np.matrix(x))


# ---- weights and options ----


def test_weights_that_do_not_fit(backend: Backend) -> None:
    def rnn(*shapes: tuple[int, ...], kind: Any = RNN, **options: Any) -> Callable[[], Any]:
        return lambda: kind(*(zeros(backend, *shape) for shape in shapes), **options)

    gru = (D, 3 * H), (H, 3 * H), (3 * H,)
    refused(
        (ValueError, rnn((D, H), (H, H + 1), (H,)), "Wh has shape (5, 6)", "expects (H, H)"),
        (ValueError, rnn((D, H), (), (H,)), "Wh has shape ()", "expects (H, H)"),
        (ValueError, rnn((H, D), (H, H), (H,)), "Wx has shape (5, 3)", "expects (D, 5)", "Wh is (5, 5)"),
        (ValueError, rnn((H,), (H, H), (H,)), "Wx has shape (5,)", "expects (D, 5)", "Wh is (5, 5)"),
        (ValueError, rnn((D, H), (H, H), (1, H)), "b has shape (1, 5)", "expects (5,)", "Wh is (5, 5)"),
        (ValueError, rnn(*gru, kind=GRU), "b has shape (15,)", "expects (20,)", "append b_hn", "reset_after=False"),
    )
    assert rnn(*gru, kind=GRU, reset_after=False)().hidden_size == H
    weights = [np.zeros(shape, "float32") for shape in [(D, H), (H, H), (H,)]]
    for dtype in ("int32", "float16", "complex128", ">f8"):
        bad, remedy = [w.astype(dtype) for w in weights], _remedy(dtype).replace("32", "64" if dtype == ">f8" else "32")
        refused(
            (TypeError, lambda bad=bad: RNN(*bad), f"Wx has dtype {dtype}", "float32 or float64", f"Wx{remedy}"),
            (TypeError, lambda bad=bad: RNN(weights[0], *bad[1:]), f"Wh has dtype {dtype}", f"Wh{_remedy(dtype)}"),
        )


def test_options_of_init() -> None:
    def init(**options: Any) -> Callable[[], object]:
        given: dict[str, Any] = {"input_size": D, "hidden_size": H, "backend": "numpy"}
        return lambda: RNN.init(**(given | options))

    a_seed = "expected a seed (an integer from 0), a numpy.random.Generator or None"
    sizes = [(name, size) for name in ("input_size", "hidden_size") for size in (3.0, "3", None, True)]
    refused(
        *((TypeError, init(**{n: s}), f"{n} is {s!r}: expected an integer, at least 1; use int(") for n, s in sizes),
        *((ValueError, init(hidden_size=size), f"hidden_size is {size}: expected an integer") for size in (0, -2)),
        *((TypeError, init(dtype=d), f"dtype is {d!r}: expected 'float32'") for d in ("int32", "flot32", None, 32)),
        *((TypeError, init(rng=rng), f"rng is {rng!r}: {a_seed}") for rng in ("seed", 1.5)),
        (ValueError, init(rng=-1), "rng is -1: expected a seed"),
        (ValueError, init(nonlinearity="Tanh"), "unknown nonlinearity 'Tanh': expected one of tanh, relu"),
        (TypeError, init(reverse="no"), "reverse is 'no': expected True or False"),
        (TypeError, lambda: GRU(*GRU.init(D, H).params, reset_after=1), "reset_after is 1: expected True or False"),  # type: ignore[arg-type]
        (TypeError, lambda: type("Bad", (Cell,), {"params": ("b",)}), "params of Bad is ('b',): expected a tuple"),
    )
    with one_line(NotImplementedError, "the cell 'cell' has no step"):
        Recurrent.init(Cell(), D, H, backend="numpy").forward(np.zeros((N, D), "float32"))


# ---- leak ----


def test_leaks(backend: Backend, rnn: RNN) -> None:
    def leaky(leak: Any) -> Callable[[], object]:
        return lambda: RNN(*rnn.params, leak=leak)

    expected = "expected a number in (0, 1], or an array of 5 such numbers, one for each unit"
    numbers: list[Any] = [0, -0.1, 1.001, np.float32(-1), float("nan"), float("inf")]
    shapes = [(), (1,), (H + 1,), (1, H)]
    others = [np.ones(size).astype(dtype) for dtype in ("bool", "complex64", "str") for size in (H, 2000)]
    # In float32, 1e-50 is 0.
    beyond = [make([0.5, 0.5, bad, 0.5, 1]) for bad in (0, -0.1, 1.001, np.nan, 1e-50) for make in (list, np.array)]
    refused(
        *((ValueError, leaky(n), f"leak is {n}: {expected}; leave it out for a layer without leak") for n in numbers),
        *((TypeError, leaky(junk), f"leak is {junk!r}: {expected}; use float(leak)") for junk in (True, "0.5", {0.5})),
        *((ValueError, leaky(np.full(s, 0.5)), f"leak has shape {s}: {expected}; b is (5,)") for s in shapes),
        *((ValueError, leaky(backend.xp.full(s, 0.5)), f"leak has shape {s}: {expected}") for s in shapes),
        *((TypeError, leaky(a), f"leak has dtype {a.dtype}: {expected}; use", _remedy(str(a.dtype))) for a in others),
        *((ValueError, leaky(leak), "leak holds values from", "expected numbers in (0, 1]") for leak in beyond),
        (TypeError, leaky([[0.5], [0.5, 0.5]]), "leak is a list of lists of unequal lengths: expected a number in"),
    )
    leaky([0.5, 0.5, 1 + 1e-9, 0.5, 1])()  # 1 + 1e-9 is 1 in float32


def test_leaks_on_another_backend_or_device() -> None:
    here = RNN.init(D, H, backend="numpy").params
    on_device = RNN.init(D, H, backend=STANDIN)
    with standin.cuda.Device(1):
        elsewhere, others = standin.ones(H), [standin.zeros(s) for s in [(D, H), (H, H), (H,)]]
    masked, moved = np.ma.masked_equal(np.ones(H), 0), "leak is on device <CUDA Device 1>, but b is on <CUDA Device 0>"
    refused(
        (TypeError, lambda: RNN(*here, leak=standin.ones(H)), "leak is a cupy.ndarray, but b is on the numpy backend"),
        (TypeError, lambda: RNN(*here, leak=masked), "leak is a numpy.ma.MaskedArray", "leak.filled(0)"),
        (ValueError, lambda: RNN(*on_device.params, leak=elsewhere), moved),
    )
    layer: Any = RNN(*others, leak=[0.5] * H)  # a leak on the host is copied to the device of the weights
    assert layer.cell.leak.device == standin.cuda.Device(1)
    with no_waiting():  # a leak on a GPU is not read
        RNN(*on_device.params, leak=standin.ones(H))


# ---- lengths ----


def test_lengths(backend: Backend, layer: Any) -> None:
    def run(lengths: Any) -> Callable[[], object]:
        return lambda: layer.forward(zeros(backend, T, N, D), lengths=lengths)

    def shaped(shape: tuple[int, ...], dtype: str) -> list[Any]:
        return [zeros(backend, *shape, dtype=dtype), np.zeros(shape, dtype)]

    shapes = [(shape, lengths) for shape in [(), (N + 1,), (N, 1)] for lengths in shaped(shape, "int64")]
    dtypes = [(dtype, lengths) for dtype in ("float32", "bool") for lengths in shaped((N,), dtype)]
    beyond = [(bad, [3, bad, 0, T]) for bad in (-1, T + 1)]
    ranges = [(bad, kind(values)) for bad, values in beyond for kind in (list, np.array)]
    ranges += [(bad, backend.asarray(np.array(values))) for bad, values in beyond * backend.reads_are_free]
    one, alone = zeros(backend, N, D), "got lengths for one step, x (N, D): expected a sequence, x (T, N, D)"
    refused(
        *((ValueError, run(value), f"lengths has shape {s}: expected (4,), one for each row") for s, value in shapes),
        *((TypeError, run(value), f"lengths has dtype {d}: expected integers", "'int64'") for d, value in dtypes),
        *((ValueError, run(value), f"from {min(bad, 0)} to {max(bad, T)}: expected 0 to") for bad, value in ranges),
        *((TypeError, run(bad), "lengths is a ", "use xrnn.asarray(lengths)") for bad in (5, 1.5, "3", type, {1, 2})),
        (TypeError, run(np.ma.masked_equal([1] * N, 0)), "lengths is a numpy.ma.MaskedArray", "lengths.filled(0)"),
        (TypeError, run([[1], [1, 2], 3, 4]), "lengths is a list of lists of unequal lengths: expected integers, one"),
        (ValueError, lambda: layer.forward(one, lengths=[1] * N), alone, "leave lengths out"),
        (ValueError, lambda: layer(one, lengths=[1] * N), alone),
        (ValueError, lambda: Stack([layer]).forward(one, lengths=[1] * N), alone),
    )


@pytest.mark.parametrize(("bad", "clamped"), [(-3, 0), (T + 9, T)])
def test_lengths_on_a_device_are_clamped_without_a_read(bad: int, clamped: int) -> None:
    for kind in (RNN, LSTM, GRU):
        layer: Any = kind.init(D, H, rng=0, backend=STANDIN)
        x = STANDIN.asarray(np.random.default_rng(0).standard_normal((T, N, D)).astype("float32"))
        given, right = (STANDIN.asarray(np.array([3, length, 0, T])) for length in (bad, clamped))
        expected = layer(x, lengths=right)
        with no_waiting():
            h = first(layer.forward(x, lengths=given))
            layer.backward(h)
        np.testing.assert_array_equal(STANDIN.to_numpy(h), STANDIN.to_numpy(first(expected)))


def test_lengths_on_another_backend_or_device() -> None:
    x, there = np.zeros((T, N, D), "float32"), standin.zeros((T, N, D), "float32")
    here, layer = LSTM.init(D, H, backend="numpy"), LSTM.init(D, H, backend=STANDIN)
    with standin.cuda.Device(1):
        lengths = standin.zeros(N, "int64")
        other = LSTM(*(standin.zeros(p.shape, "float32") for p in layer.params))
        on_other = standin.zeros((T, N, D), "float32")
    refused(
        (TypeError, lambda: here(x, lengths=standin.zeros(N, "int64")), "lengths is a cupy.ndarray"),
        (ValueError, lambda: layer(there, lengths=lengths), "lengths is on device <CUDA Device 1>"),
    )
    h, _ = other.forward(on_other, lengths=[1] * N)  # lengths on the host are copied to the device of the layer
    assert h.device == standin.cuda.Device(1)


# ---- streams, caches, and weights that change ----


def test_weights_replaced_between_forward_and_backward(backend: Backend) -> None:
    options: dict[str, Any] = {"rng": 0, "backend": backend}
    layers: list[Any] = [kind.init(D, H, **options) for kind in (LSTM, GRU)]
    for layer in (*layers, RNN.init(D, H, leak=0.5, trains_leak=True, **options)):
        h = first(layer.forward(zeros(backend, T, N, D)))
        for k, param in enumerate(list(layer.params)):
            layer.params[k] = param.copy()
            with one_line(RuntimeError, f"the weights of this {type(layer).__name__} have been replaced since that"):
                layer.backward(h)
            layer.params[k] = param
        layer.backward(h)


def test_a_cache_must_be_a_cache_of_its_layer(backend: Backend, layer: Any) -> None:
    x = zeros(backend, T, N, D)
    both, linear = Bidirectional.init(GRU, D, H, backend=backend), Linear.init(D, H, rng=0, backend=backend)
    owners: list[Any] = [layer, Stack([layer]), both, linear]
    for owner in owners:
        h = first(owner.forward(x))
        for cache in (5, (1, 2)):
            with one_line(TypeError, f"cache is a {type(cache).__name__}: expected this layer's own", "layer.cache"):
                owner.backward(h, cache=cache)
    deep, shallow = (Stack.init(RNN, D, H, depth, backend=backend) for depth in (3, 2))
    hs = first(deep.forward(x))
    shallow.forward(x)
    with one_line(ValueError, "cache is of another Stack", "take stack.cache"):
        deep.backward(hs, cache=shallow.cache)


def test_a_cache_of_a_layer_with_the_same_weights_is_refused(backend: Backend, rnn: RNN) -> None:
    """Their cells or directions may differ."""
    h = rnn.forward(zeros(backend, T, N, D))
    for options in ({"nonlinearity": "relu"}, {"leak": 0.5}, {"reverse": True}, {}):
        other: Any = RNN(*rnn.params, **options)
        other.forward(zeros(backend, T, N, D))
        with one_line(ValueError, "cache is of another layer", "take layer.cache after its forward"):
            rnn.backward(h, cache=other.cache)
    rnn.backward(h)
