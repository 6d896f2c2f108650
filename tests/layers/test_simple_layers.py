"""Linear, LayerNorm, Embedding and Dropout."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests import standin
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.layouts import lay_out
from tests.reference import solve_affine
from xrnn import GRU, LSTM, Dropout, Embedding, LayerNorm, Linear, Stack, gradcheck
from xrnn.backend import Backend
from xrnn.typing import Array, HostArray

# ---- Linear: y = x @ W + b over any leading axes ----


D, C = 3, 5
LEADING = [(), (4,), (6, 4), (2, 3, 4), (0,), (0, 4), (6, 0)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_linear(backend: Backend, leading: tuple[int, ...], dtype: str) -> None:
    p = problems.affine(math.prod(leading), D, C, dtype)
    linear = Linear(backend.asarray(p.W), backend.asarray(p.b))
    for gradient in linear.grads:
        gradient[...] = np.nan
    y = linear.forward(backend.asarray(p.x.reshape(*leading, D)))
    dx = linear.backward(backend.asarray(p.dy.reshape(*leading, C)))
    solution = solve_affine(p)
    expected = [solution["y"].reshape(*leading, C), solution["dx"].reshape(*leading, D), solution["dW"], solution["db"]]
    for got, want in zip([y, dx, *linear.grads], expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == dtype
        assert_allclose(backend.to_numpy(got), want, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


def test_an_equal_dtype_is_accepted() -> None:
    """A dtype with metadata is another object than the equal dtype without."""
    linear = Linear.init(D, C, rng=0, backend="numpy")
    x = np.ones((4, D), np.dtype("float32", metadata={"unit": "V"}))
    assert x.dtype is not linear.params[0].dtype
    assert_array_equal(linear(x), linear(np.ones((4, D), "float32")))


def test_an_equal_device_is_accepted() -> None:
    linear = Linear.init(D, C, rng=0, backend=STANDIN)
    with standin.cuda.Device(0):
        x = standin.ones((4, D), "float32")
    assert x.device is not linear.params[0].device
    assert linear(x).device == linear.params[0].device


# ---- LayerNorm, alone and in a Stack ----


F, H = 5, 4  # features, hidden units
SHAPES = [(), (4,), (6, 4), (0,), (2, 3, 4)]


def norm_of(backend: Backend, size: int = F, dtype: str = "float64") -> LayerNorm:
    rng = np.random.default_rng(7)
    gamma, beta = (backend.asarray(rng.standard_normal(size), dtype) for _ in range(2))
    return LayerNorm(gamma, beta, eps=1e-3)


def formula(norm: LayerNorm, x: HostArray) -> HostArray:
    gamma, beta = (norm.backend.to_numpy(p).astype("float64") for p in norm.params)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * gamma + beta


@pytest.mark.parametrize("leading", SHAPES, ids=str)
def test_layer_norm(backend: Backend, leading: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((*leading, F)) + 3
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-13)):
        norm = norm_of(backend, dtype=dtype)
        y = norm.forward(backend.asarray(x, dtype))
        assert y.shape == x.shape
        assert y.dtype == dtype
        assert_allclose(backend.to_numpy(y), formula(norm, x.astype(dtype)), rtol=0, atol=tolerance)
    weights = [p.copy() for p in norm.params]

    def forward(x: Array, *weights: Array) -> Array:
        for param, weight in zip(norm.params, weights, strict=True):
            param[...] = weight
        return norm.forward(x)

    for grad in norm.grads:
        grad[...] = np.nan
    gradcheck(forward, lambda u: [norm.backward(u), *norm.grads], [backend.asarray(x), *weights])


def test_nan_past_the_end_of_a_row_reaches_no_gradient(backend: Backend) -> None:
    options: dict[str, Any] = {"rng": 0, "dtype": "float64", "backend": backend}
    first, second = LSTM.init(F, H, **options), GRU.init(H, H, **options)
    deep = Stack([norm_of(backend, F), first, norm_of(backend, H), second, norm_of(backend, H)])
    x = np.random.default_rng(0).standard_normal((6, 4, F))
    inside = (np.arange(6)[:, None] < np.array([3, 6, 1, 5]))[..., None]
    found = []
    for value in (0, np.nan):
        deep.forward(backend.asarray(np.where(inside, x, value)), lengths=[3, 6, 1, 5])
        dx, _ = deep.backward(backend.asarray(np.where(inside, x[..., :H], 0)))
        found.append([backend.to_numpy(g).copy() for g in (dx, *deep.grads)])
    for got, want in zip(*found, strict=True):
        assert_array_equal(got, want)
        assert np.isfinite(got).all()


def test_a_fresh_norm(backend: Backend) -> None:
    norm = LayerNorm.init(3, backend=backend)
    assert_array_equal(backend.to_numpy(norm.gamma), np.ones(3, "float32"))
    assert_array_equal(backend.to_numpy(norm.beta), np.zeros(3, "float32"))
    assert norm.eps == LayerNorm(*norm.params).eps == 1e-5


# ---- Embedding: its backward pass sums over equal indices in a fixed order ----


V, E = 7, 3


def expected_dW(index: np.ndarray[Any, Any], dy: np.ndarray[Any, Any], vocabulary_size: int) -> np.ndarray[Any, Any]:
    dW = np.zeros((vocabulary_size, dy.shape[-1]))
    for place in np.ndindex(index.shape):
        dW[index[place]] += dy[place]
    return dW


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((), "int64"), ((5,), "uint8"), ((6, 4), "int32"), ((0,), "int64"), ((3, 0), "int32")]
)
def test_embedding(backend: Backend, shape: tuple[int, ...], dtype: str, strided: bool) -> None:
    rng = np.random.default_rng(0)
    W, index, dy = rng.standard_normal((V, E)), rng.integers(0, V, shape), rng.standard_normal((*shape, E))
    embedding = Embedding(backend.asarray(W))
    embedding.grads[0][...] = np.nan
    layout = "strided" if strided and shape else "C"
    y = embedding.forward(lay_out(backend, index.astype(dtype), layout))
    embedding.backward(lay_out(backend, dy, "negative" if strided else "C"))
    assert y.shape == (*shape, E)
    assert_array_equal(backend.to_numpy(y), W[index])
    assert_allclose(backend.to_numpy(embedding.grads[0]), expected_dW(index, dy, V), rtol=0, atol=1e-13)


def test_the_output_of_an_embedding_is_a_copy(backend: Backend) -> None:
    embedding = Embedding.init(V, E, rng=0, backend=backend)
    for index in (np.array(2), np.array([2, 2])):
        y = embedding(backend.asarray(index))
        before = backend.to_numpy(y).copy()
        embedding.params[0][...] += 1
        assert_array_equal(backend.to_numpy(y), before)


# ---- Dropout: its rate and scale, and a mask that depends only on seed, layer, forward call and position ----


SIZE = 40_000


def kept(backend: Backend, dropout: Dropout, size: int = SIZE) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return backend.to_numpy(dropout.forward(backend.xp.ones(size, "float32"))) > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_rate_and_scale(backend: Backend, p: float, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((100, SIZE // 100)).astype(dtype)
    dropout = Dropout(p, seed=0)
    y = backend.to_numpy(dropout.forward(backend.asarray(x)))
    assert y.dtype == dtype
    assert y.shape == x.shape
    dropped = y == 0
    assert abs(dropped.mean() - p) < 4 * np.sqrt(p * (1 - p) / SIZE)  # four standard deviations
    assert_allclose(y[~dropped], x[~dropped] / (1 - p), rtol=1e-6)


def test_backward_uses_the_mask_of_forward(backend: Backend) -> None:
    dropout = Dropout(0.4, seed=1)
    y = dropout.forward(backend.xp.full((50, 20), 2.0))
    dx = dropout.backward(backend.xp.full((50, 20), 2.0))
    assert_array_equal(backend.to_numpy(dx), backend.to_numpy(y))


def test_the_mask_is_the_same_on_every_backend(backend: Backend) -> None:
    host = Dropout(0.3, seed=5, layer=2).forward(np.ones(SIZE, "float32")) > 0
    assert_array_equal(kept(backend, Dropout(0.3, seed=5, layer=2)), host)
    # The same in all versions of xrnn and NumPy, because checkpoints depend on it.
    assert_array_equal(host[:16], [1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1])


def test_masks_are_independent(backend: Backend) -> None:
    """Masks of neighbouring seeds, layers and forward calls agree as often as independent masks do."""
    masks = []
    for seed, layer, forward_calls in itertools.product((0, 1, 2**32), (0, 1), (0, 1, 2)):
        dropout = Dropout(0.5, seed=seed, layer=layer)
        dropout.forward_calls = forward_calls
        masks.append(kept(backend, dropout))
    for one, other in itertools.combinations(masks, 2):
        assert abs((one == other).mean() - 0.5) < 5 * 0.5 / np.sqrt(SIZE)
    for mask in masks:
        for lag in (1, 2, 64, 256):  # the positions of one mask are independent too
            assert abs((mask[lag:] == mask[:-lag]).mean() - 0.5) < 5 * 0.5 / np.sqrt(SIZE)


def test_layers_without_a_seed_draw_different_masks(backend: Backend) -> None:
    one, other = Dropout(0.5), Dropout(0.5)
    assert (kept(backend, one) != kept(backend, other)).any()
    again = Dropout(**one.options)
    again.forward_calls = 1  # resumes a run
    assert_array_equal(kept(backend, again), kept(backend, one))
    assert again.forward_calls == one.forward_calls == 2


def test_a_call_is_the_identity(backend: Backend) -> None:
    dropout = Dropout(0.9)
    x = backend.xp.ones((3, 4))
    assert dropout(x) is x
    assert dropout.forward_calls == 0
    assert dropout.cache is None
    assert dropout.params == dropout.grads == []
    assert dropout.named_params == {}
    none = Dropout(0)  # changes nothing
    for same in (none.forward(x), none.backward(x)):
        assert_array_equal(backend.to_numpy(same), backend.to_numpy(x))
    for shape in ((0,), (3, 0, 2)):
        assert dropout.forward(backend.xp.ones(shape)).shape == shape
        assert dropout.backward(backend.xp.ones(shape)).shape == shape


def test_rows_of_a_batch_have_the_masks_of_the_batch(backend: Backend) -> None:
    """Also if the other rows are longer."""
    xp, rows = backend.xp, np.array([4, 1])
    for shape, part in [((3, 5, 2), (2, 2, 2)), ((5, 2), (2, 2))]:
        of_batch, of_rows = Dropout(0.5, seed=1, layer=2), Dropout(0.5, seed=1, layer=2)
        of_rows.rows = 5, backend.asarray(rows)
        for _ in range(2):
            expected = backend.to_numpy(of_batch.forward(xp.ones(shape)))[..., rows, :]
            found = of_rows.forward(xp.ones(part))
            assert_array_equal(backend.to_numpy(found), expected[: part[0]] if len(shape) == 3 else expected)
            assert_array_equal(backend.to_numpy(of_rows.backward(xp.ones(part))), backend.to_numpy(found))


# ---- refusals ----


def test_wrong_arguments(backend: Backend) -> None:
    xp = backend.xp
    options: dict[str, Any] = {"rng": 0, "dtype": "float64", "backend": backend}
    linear, norm, embedding = Linear.init(D, C, **options), norm_of(backend), Embedding.init(V, E, **options)
    kind: Any = Dropout
    dropout, unused, normed = kind(0.5), kind(0.5), Stack([norm_of(backend)])
    linear.forward(xp.zeros((4, D)))
    norm.forward(xp.ones((4, F)))
    dropout.forward(xp.ones((3, 2)))
    dy = embedding.forward(xp.zeros((2, 4), "int64"))
    two, three = xp.zeros(2), xp.zeros(3)
    wide, cube, matrix, none = xp.zeros((4, 6)), xp.zeros((D, C, 1)), xp.zeros((D, C)), xp.zeros(())
    refused(
        *((ValueError, lambda x=x: linear(x), f"x has shape {x.shape}", "(..., 3): W is (3, 5)") for x in (none, wide)),
        *((ValueError, lambda x=x: norm(x), f"x has shape {x.shape}", "gamma is (5,)") for x in (none, wide)),
        (ValueError, lambda: linear.backward(wide), "dy has shape (4, 6)", "(4, 5)", "the last forward returned"),
        (ValueError, lambda: norm.backward(wide), "dy has shape (4, 6)", "expects (4, 5)"),
        (ValueError, lambda: embedding.backward(dy[:, 0]), "dy has shape (2, 3)"),
        (ValueError, lambda: dropout.backward(xp.ones((2, 3))), "dy is float64 (2, 3)"),
        (ValueError, lambda: dropout.backward(xp.ones((3, 2), "float32")), "dy is float32 (3, 2)"),
        (RuntimeError, lambda: unused.backward(three), "backward needs a forward before it"),
        (TypeError, lambda: linear.backward(matrix, needs_dx=0), "needs_dx is 0"),  # type: ignore[arg-type]
        (TypeError, lambda: embedding.backward(dy, cache="junk"), "cache is a str"),  # type: ignore[arg-type]
        (TypeError, lambda: embedding(xp.zeros(4)), "index has dtype float64: expected integers", "astype('int64')"),
        (TypeError, lambda: unused.forward(xp.ones(3, "int64")), "x has dtype int64", "expected float32 or float64"),
        (ValueError, lambda: normed.forward(wide[:, 1:], lengths=[1] * 4), "got lengths for x of shape (4, 5)"),
        *((ValueError, lambda W=W: Linear(W, three), "W has shape", "expects (D, C)") for W in (three, cube)),
        (ValueError, lambda: Linear(matrix, three), "b has shape (3,)", "expects (5,)", "W is (3, 5)"),
        (ValueError, lambda: LayerNorm(matrix, three), "gamma has shape (3, 5)", "expects (D,)"),
        (ValueError, lambda: LayerNorm(three, two), "beta has shape (2,)", "expects (3,)"),
        (ValueError, lambda: Embedding(three), "W has shape (3,)", "expects (V, E)"),
        (TypeError, lambda: Linear.init(D, 2.5), "output_size is 2.5", "expected an integer, at least 1"),  # type: ignore[arg-type]
        (ValueError, lambda: Linear.init(0, C), "input_size is 0"),
        (TypeError, lambda: Embedding.init("7", E), "vocabulary_size is '7'"),  # type: ignore[arg-type]
        (ValueError, lambda: LayerNorm.init(3, eps=0, backend=backend), "eps is 0", "expected a positive number"),
        *((ValueError, lambda p=p: kind(p), f"p is {p}: expected a probability") for p in (-0.1, 1.0, np.nan)),
        (TypeError, lambda: kind("0.5"), "p is '0.5'", "use float(p)"),
        (TypeError, lambda: kind(0.5, seed=1.5), "seed is 1.5", "expected an integer, at least 0"),
        (ValueError, lambda: kind(0.5, layer=-1), "layer is -1"),
    )
    table = Embedding.init(V, E, rng=0, backend="numpy")
    for bad in (-1, V, 10**9):
        with one_line(IndexError, "index holds values from", str(bad), "expected 0 to 6", "make the table larger"):
            table.forward(np.array([2, bad, 3]))
