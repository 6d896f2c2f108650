"""RNN: values, gradients, and who owns which memory; on every backend, in the fused and in the plain form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.layouts import LAYOUTS, lay_out
from tests.reference import rnn_backward, rnn_forward
from xrnn import RNN, gradcheck, use_fused
from xrnn.backend import Backend
from xrnn.ops.cells.rnn import NONLINEARITIES, Nonlinearity
from xrnn.typing import Array

HostArray = np.ndarray[Any, np.dtype[Any]]

TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
NAMES = ("dx", "dh_prev", "dWx", "dWh", "db")
SIZES = [  # T, N, D, H
    (7, 4, 3, 5),
    (1, 1, 2, 3),
    (5, 1, 1, 9),
    (3, 2, 6, 1),
    (4, 33, 17, 31),
    (0, 2, 3, 4),
    (4, 0, 3, 5),
    (0, 0, 1, 1),
]


def operands(sizes: tuple[int, int, int, int], dtype: str = "float64", seed: int = 0) -> tuple[HostArray, ...]:
    """x, h_prev, dh, Wx, Wh, b: every element random, h_prev and the last step's dh included."""
    T, N, D, H = sizes
    rng = np.random.default_rng(seed)
    shapes = [(T, N, D), (N, H), (T, N, H), (D, H), (H, H), (H,)]
    scales = [1, 1, 1, 1 / np.sqrt(D), 0.7 / np.sqrt(H), 1]
    return tuple((scale * rng.standard_normal(s)).astype(dtype) for scale, s in zip(scales, shapes, strict=True))


def poison(layer: RNN) -> None:
    for gradient in layer.grads:
        gradient[...] = np.nan


def gradients(backend: Backend, rnn: RNN, dh: Array) -> list[HostArray]:
    """Copies of dx, dh_prev, dWx, dWh, db, over NaNs in `grads`."""
    poison(rnn)
    return [backend.to_numpy(g).copy() for g in (*rnn.backward(dh), *rnn.grads)]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values_and_gradients(
    backend: Backend, sizes: tuple[int, int, int, int], nonlinearity: Nonlinearity, dtype: str
) -> None:
    x, h_prev, dh, *weights = operands(sizes, dtype)
    rnn = RNN(*(backend.asarray(w) for w in weights), nonlinearity=nonlinearity)
    h = backend.to_numpy(rnn.forward(backend.asarray(x), backend.asarray(h_prev)))
    found = gradients(backend, rnn, backend.asarray(dh))

    hs = rnn_forward(x, h_prev, weights, nonlinearity)
    expected = rnn_backward(x, hs, weights, dh, nonlinearity)
    assert h.dtype == dtype
    assert_allclose(h, hs[1:], rtol=0, atol=TOLERANCE[dtype])
    for name, got in zip(NAMES, found, strict=True):
        want = getattr(expected, name)
        assert got.dtype == dtype
        atol = TOLERANCE[dtype] * max(1, abs(want).max(initial=0))
        assert_allclose(got, want, rtol=0, atol=atol, err_msg=name)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("sizes", [(7, 4, 3, 5), (1, 1, 2, 3), (5, 1, 4, 1)], ids=str)
def test_gradients_match_differences(
    backend: Backend, sizes: tuple[int, int, int, int], nonlinearity: Nonlinearity
) -> None:
    x, h_prev, _, *weights = (backend.asarray(a) for a in operands(sizes))
    rnn = RNN(*(w.copy() for w in weights), nonlinearity=nonlinearity)

    def forward(x: Array, h_prev: Array, *weights: Array) -> Array:
        for param, weight in zip(rnn.params, weights, strict=True):
            param[...] = weight
        return rnn.forward(x, h_prev)

    def backward(u: Array) -> list[Array]:
        poison(rnn)
        return [*rnn.backward(u), *rnn.grads]

    gradcheck(forward, backward, [x, h_prev, *weights], names=["x", "h_prev", "Wx", "Wh", "b"])


@pytest.mark.usefixtures("form")
def test_one_step_is_a_sequence_of_length_one(backend: Backend) -> None:
    x, h_prev, dh, *weights = (backend.asarray(a) for a in operands((1, 4, 3, 5), "float32"))
    step, sequence = RNN(*weights), RNN(*weights)
    h = step.forward(x[0], h_prev)
    assert h.shape == (4, 5)
    assert_array_equal(backend.to_numpy(h), backend.to_numpy(sequence.forward(x, h_prev))[0])
    dx, *of_step = gradients(backend, step, dh[0])
    dx_sequence, *of_sequence = gradients(backend, sequence, dh)
    assert_array_equal(dx, dx_sequence[0])
    for got, want in zip(of_step, of_sequence, strict=True):
        assert_array_equal(got, want)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", ["x", "h_prev", "dh", "weights"])
def test_any_memory_layout(backend: Backend, what: str, layout: str) -> None:
    x, h_prev, dh, *weights = values = operands((6, 4, 3, 5))
    targets = {"x": [0], "h_prev": [1], "dh": [2], "weights": [3, 4, 5]}[what]
    x_, h_, dh_, *weights_ = (lay_out(backend, a, layout if i in targets else "C") for i, a in enumerate(values))
    rnn = RNN(*weights_)
    hs = rnn_forward(x, h_prev, weights)
    assert_allclose(backend.to_numpy(rnn.forward(x_, h_)), hs[1:], rtol=0, atol=1e-12)
    expected = rnn_backward(x, hs, weights, dh)
    for name, got in zip(NAMES, gradients(backend, rnn, dh_), strict=True):
        assert_allclose(got, getattr(expected, name), rtol=0, atol=1e-12, err_msg=name)


@given(
    sizes=st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(1, 20), st.integers(1, 40)),
    dtype=st.sampled_from(["float32", "float64"]),
    nonlinearity=st.sampled_from(NONLINEARITIES),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 6),
    fused=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_shape_dtype_and_layout(
    backend: Backend,
    sizes: tuple[int, int, int, int],
    dtype: str,
    nonlinearity: Nonlinearity,
    layouts: tuple[str, ...],
    fused: bool,
    seed: int,
) -> None:
    x, h_prev, dh, *weights = values = operands(sizes, dtype, seed)
    x_, h_, dh_, *weights_ = (lay_out(backend, a, layout) for a, layout in zip(values, layouts, strict=True))
    rnn = RNN(*weights_, nonlinearity=nonlinearity)
    with use_fused(fused):
        h = rnn.forward(x_, h_)
        found = gradients(backend, rnn, dh_)
    hs = rnn_forward(x, h_prev, weights, nonlinearity)
    assert_allclose(backend.to_numpy(h), hs[1:], rtol=0, atol=TOLERANCE[dtype])
    own = np.concatenate([h_prev[None], backend.to_numpy(h)])  # relu's slope jumps at 0: stay on the same side
    expected = rnn_backward(x, own, weights, dh, nonlinearity)
    for name, got in zip(NAMES, found, strict=True):
        want = getattr(expected, name)
        atol = TOLERANCE[dtype] * max(1, abs(want).max(initial=0))
        assert_allclose(got, want, rtol=0, atol=atol, err_msg=name)


@pytest.mark.usefixtures("form")
def test_no_state_means_zeros(backend: Backend) -> None:
    x, h_prev, dh, *weights = (backend.asarray(a) for a in operands((3, 2, 4, 5)))
    absent, zeros = RNN(*weights), RNN(*weights)
    h = absent.forward(x)
    assert_array_equal(backend.to_numpy(h), backend.to_numpy(zeros.forward(x, backend.xp.zeros_like(h_prev))))
    for got, want in zip(gradients(backend, absent, dh), gradients(backend, zeros, dh), strict=True):
        assert_array_equal(got, want)


@pytest.mark.usefixtures("form")
def test_chunks_carry_the_state(backend: Backend) -> None:
    x, h_prev, _, *weights = (backend.asarray(a) for a in operands((6, 2, 3, 4)))
    rnn = RNN(*weights)
    whole = backend.to_numpy(rnn(x, h_prev))
    first = rnn(x[:4], h_prev)
    assert_allclose(backend.to_numpy(rnn(x[4:], first[-1])), whole[4:], rtol=0, atol=1e-14)


# ---- whose memory it is ----


@pytest.mark.usefixtures("form")
def test_gradients_stay_where_they_are(backend: Backend) -> None:
    x, h_prev, dh, *weights = (backend.asarray(a) for a in operands((3, 2, 4, 5)))
    rnn = RNN(*weights)
    before = [(id(g), address(g)) for g in rnn.grads]
    for _ in range(2):
        poison(rnn)
        rnn.forward(x, h_prev)
        rnn.backward(dh)
        assert [(id(g), address(g)) for g in rnn.grads] == before
        assert all(np.isfinite(backend.to_numpy(g)).all() for g in rnn.grads)


def address(array: Any) -> int:
    pointer: int = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    return pointer


@pytest.mark.usefixtures("form")
def test_inputs_are_never_changed(backend: Backend) -> None:
    values = operands((3, 2, 4, 5))
    x, h_prev, dh, *weights = arrays = [backend.asarray(a.copy()) for a in values]
    rnn = RNN(*weights)
    rnn(x, h_prev)
    rnn.forward(x, h_prev)
    rnn.backward(dh)
    for array, value in zip(arrays, values, strict=True):
        assert_array_equal(backend.to_numpy(array), value)


@pytest.mark.usefixtures("form")
def test_an_earlier_output_is_not_changed_by_a_later_forward(backend: Backend) -> None:
    x, h_prev, dh, *weights = (backend.asarray(a) for a in operands((3, 2, 4, 5)))
    rnn = RNN(*weights)
    earlier = [rnn.forward(x, h_prev), rnn(x, h_prev), *rnn.backward(dh)]
    kept = [backend.to_numpy(a).copy() for a in earlier]
    rnn.forward(2 * x, h_prev)
    rnn.backward(3 * dh)
    rnn(5 * x)
    for array, value in zip(earlier, kept, strict=True):
        assert_array_equal(backend.to_numpy(array), value)


@pytest.mark.usefixtures("form")
def test_a_call_gives_what_forward_gives_and_keeps_nothing(backend: Backend) -> None:
    x, h_prev, dh, *weights = (backend.asarray(a) for a in operands((3, 2, 4, 5), "float32"))
    rnn = RNN(*weights)
    called = backend.to_numpy(rnn(x, h_prev))
    assert rnn.cache is None
    assert_array_equal(called, backend.to_numpy(rnn.forward(x, h_prev)))
    cache = rnn.cache
    expected = gradients(backend, rnn, dh)
    rnn(x[0])  # of another rank, between forward and backward
    assert rnn.cache is cache
    for got, want in zip(gradients(backend, rnn, dh), expected, strict=True):
        assert_array_equal(got, want)  # and so a second backward gives the same as the first


@pytest.mark.usefixtures("form")
def test_a_refused_input_leaves_the_last_forward_in_place(backend: Backend) -> None:
    x, h_prev, dh, *weights = (backend.asarray(a) for a in operands((3, 2, 4, 5)))
    rnn = RNN(*weights)
    rnn.forward(x, h_prev)
    expected = gradients(backend, rnn, dh)
    with pytest.raises(ValueError, match="x has shape"):
        rnn.forward(x[0, 0])
    for got, want in zip(gradients(backend, rnn, dh), expected, strict=True):
        assert_array_equal(got, want)


@pytest.mark.usefixtures("form")
def test_a_parameter_updated_in_place_is_seen_by_the_next_forward(backend: Backend) -> None:
    x, h_prev, _, *weights = operands((3, 2, 4, 5))
    rnn = RNN(*(backend.asarray(w.copy()) for w in weights))
    rnn.forward(backend.asarray(x), backend.asarray(h_prev))
    for param in rnn.params:
        param *= 0.5
    h = rnn.forward(backend.asarray(x), backend.asarray(h_prev))
    expected = rnn_forward(x, h_prev, [0.5 * w for w in weights])[1:]
    assert_allclose(backend.to_numpy(h), expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("form")
def test_the_same_run_gives_the_same_bits(backend: Backend) -> None:
    x, h_prev, dh, *weights = (backend.asarray(a) for a in operands((9, 17, 33, 65), "float32"))
    runs = []
    for _ in range(3):
        rnn = RNN(*weights)
        h = backend.to_numpy(rnn.forward(x, h_prev))
        runs.append([h, *gradients(backend, rnn, dh)])
    for run in runs[1:]:
        for got, want in zip(run, runs[0], strict=True):
            assert_array_equal(got, want)


def test_parameters_by_name(backend: Backend) -> None:
    Wx, Wh, b = (backend.asarray(w) for w in operands((1, 1, 2, 3))[3:])
    rnn = RNN(Wx, Wh, b)
    assert list(rnn.named_params) == ["Wx", "Wh", "b"]
    assert rnn.params[0] is rnn.named_params["Wx"] is Wx
    assert rnn.params[1] is rnn.named_params["Wh"] is Wh
    assert rnn.params[2] is rnn.named_params["b"] is b
    assert (rnn.input_size, rnn.hidden_size) == (2, 3)


# ---- NaN and infinity ----


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("where", ["x", "h_prev", "dh", "Wx", "Wh", "b"])
def test_nan_comes_out_where_it_should(backend: Backend, where: str, nonlinearity: Nonlinearity) -> None:
    values = dict(zip(["x", "h_prev", "dh", "Wx", "Wh", "b"], operands((4, 3, 2, 5)), strict=True))
    spoiled = values[where]
    spoiled[(1,) * spoiled.ndim] = np.nan
    x, h_prev, dh, *weights = values.values()
    rnn = RNN(*(backend.asarray(w) for w in weights), nonlinearity=nonlinearity)
    h = backend.to_numpy(rnn.forward(backend.asarray(x), backend.asarray(h_prev)))
    found = gradients(backend, rnn, backend.asarray(dh))
    hs = rnn_forward(x, h_prev, weights, nonlinearity)
    expected = rnn_backward(x, hs, weights, dh, nonlinearity)
    assert_allclose(h, hs[1:], rtol=0, atol=1e-12)  # NaN equals NaN here
    assert np.isnan(h).any() == (where != "dh")
    for name, got in zip(NAMES, found, strict=True):
        assert_allclose(got, getattr(expected, name), rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.usefixtures("form")
def test_infinity_saturates_tanh_and_cancels_to_nan(backend: Backend) -> None:
    x = np.array([[[np.inf, 0.0]], [[0.0, 0.0]], [[np.inf, np.inf]]])
    Wx = np.array([[1.0, -1.0], [1.0, 1.0]])
    rnn = RNN(*(backend.asarray(w) for w in (Wx, np.zeros((2, 2)), np.zeros(2))))
    with np.errstate(invalid="ignore"):
        h = backend.to_numpy(rnn.forward(backend.asarray(x)))
    assert_array_equal(h[:, 0], [[1, -1], [0, 0], [1, np.nan]])


@pytest.mark.usefixtures("form")
def test_infinity_passes_relu(backend: Backend) -> None:
    x = np.array([[[np.inf]], [[1.0]]])
    Wx, Wh = np.array([[1.0, -1.0]]), np.array([[1.0, -1.0], [0.5, 0.5]])
    rnn = RNN(*(backend.asarray(w) for w in (Wx, Wh, np.zeros(2))), nonlinearity="relu")
    with np.errstate(invalid="ignore"):
        h = backend.to_numpy(rnn.forward(backend.asarray(x)))
    assert_array_equal(h[:, 0], [[np.inf, 0], [np.inf, 0]])


# ---- making one ----


def test_init_gives_the_same_weights_on_every_backend(backend: Backend) -> None:
    made = RNN.init(3, 5, rng=7, backend=backend, nonlinearity="relu")
    host = RNN.init(3, 5, rng=np.random.default_rng(7), backend="numpy")
    assert made.cell.nonlinearity == "relu"
    assert made.backend is backend
    for got, want in zip(made.params, host.params, strict=True):
        assert got.dtype == np.float32
        assert_array_equal(backend.to_numpy(got), want)
    Wh = backend.to_numpy(made.params[1])
    assert_allclose(Wh @ Wh.T, np.eye(5), atol=1e-6)
    assert not backend.to_numpy(made.params[2]).any()
    assert RNN.init(3, 5, dtype="float64", backend=backend).params[0].dtype == np.float64
