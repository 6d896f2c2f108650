"""Embedding: the lookup, and its backward pass, which sums over equal indices in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests import standin
from tests.errors import one_line, refused
from xrnn import Embedding, gradcheck
from xrnn.backend import Backend
from xrnn.typing import Array

V, E = 7, 3


def expected_dW(index: np.ndarray[Any, Any], dy: np.ndarray[Any, Any], vocabulary_size: int) -> np.ndarray[Any, Any]:
    dW = np.zeros((vocabulary_size, dy.shape[-1]))
    for place in np.ndindex(index.shape):
        dW[index[place]] += dy[place]
    return dW


@pytest.mark.parametrize("index_dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(), (5,), (6, 4), (0,), (3, 0)], ids=str)
def test_values_and_gradients(backend: Backend, shape: tuple[int, ...], index_dtype: str) -> None:
    rng = np.random.default_rng(0)
    W, index, dy = rng.standard_normal((V, E)), rng.integers(0, V, shape), rng.standard_normal((*shape, E))
    embedding = Embedding(backend.asarray(W))
    embedding.grads[0][...] = np.nan
    y = embedding.forward(backend.asarray(index.astype(index_dtype)))
    embedding.backward(backend.asarray(dy))
    assert y.shape == (*shape, E)
    assert_array_equal(backend.to_numpy(y), W[index])
    assert_allclose(backend.to_numpy(embedding.grads[0]), expected_dW(index, dy, V), rtol=0, atol=1e-13)


@given(index=st.lists(st.integers(0, V - 1), max_size=60), seed=st.integers(0, 99))
def test_duplicates_add_up(backend: Backend, index: list[int], seed: int) -> None:
    dy = np.random.default_rng(seed).standard_normal((len(index), E)).astype("float32")
    embedding = Embedding(backend.xp.zeros((V, E), "float32"))
    embedding.forward(backend.asarray(np.array(index, "int64")))
    embedding.backward(backend.asarray(dy))
    dW = backend.to_numpy(embedding.grads[0])
    assert_allclose(dW, expected_dW(np.array(index, "int64"), dy, V), rtol=0, atol=1e-5)


def test_gradients_match_differences(backend: Backend) -> None:
    embedding = Embedding.init(V, E, rng=0, dtype="float64", backend=backend)
    index = backend.asarray(np.array([[1, 4, 1], [0, 1, 6]]))

    def forward(W: Array) -> Array:
        embedding.params[0][...] = W
        return embedding.forward(index)

    def backward(u: Array) -> list[Array]:
        embedding.backward(u)
        return embedding.grads

    gradcheck(forward, backward, [embedding.params[0].copy()])


def test_the_same_run_gives_the_same_bits(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    index = backend.asarray(rng.integers(0, 5, 4000))
    dy = backend.asarray((10.0 ** rng.integers(-6, 7, (4000, E)) * rng.standard_normal((4000, E))).astype("float32"))
    found = []
    for _ in range(3):
        embedding = Embedding(backend.xp.zeros((5, E), "float32"))
        embedding.forward(index)
        embedding.backward(dy)
        found.append(backend.to_numpy(embedding.grads[0]))
    assert_array_equal(found[1], found[0])
    assert_array_equal(found[2], found[0])


def test_a_large_vocabulary(backend: Backend) -> None:
    size = 50_000
    index = np.array([size - 1, 3, size - 1, 17_000] * 20)
    dy = np.random.default_rng(0).standard_normal((len(index), 2))
    embedding = Embedding.init(size, 2, rng=0, dtype="float64", backend=backend)
    y = embedding.forward(backend.asarray(index))
    embedding.backward(backend.asarray(dy))
    assert_array_equal(backend.to_numpy(y), backend.to_numpy(embedding.params[0])[index])
    dW = backend.to_numpy(embedding.grads[0])
    assert_allclose(dW[[3, 17_000, size - 1]], expected_dW(index, dy, size)[[3, 17_000, size - 1]], atol=1e-12)
    assert np.count_nonzero(dW.any(axis=1)) == 3


def test_strided_index_and_gradient(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    index, dy = rng.integers(0, V, (6, 8)), rng.standard_normal((4, 6, E))
    embedding = Embedding.init(V, E, rng=0, dtype="float64", backend=backend)
    y = embedding.forward(backend.asarray(index)[:, ::2].T)
    embedding.backward(backend.asarray(dy[::-1].copy())[::-1])
    assert_array_equal(backend.to_numpy(y), backend.to_numpy(embedding.params[0])[index[:, ::2].T])
    assert_allclose(backend.to_numpy(embedding.grads[0]), expected_dW(index[:, ::2].T, dy, V), atol=1e-13)


def test_the_output_is_a_copy_and_a_call_keeps_no_cache(backend: Backend) -> None:
    embedding = Embedding.init(V, E, rng=0, backend=backend)
    for index in (np.array(2), np.array([2, 2])):
        y = embedding(backend.asarray(index))
        before = backend.to_numpy(y).copy()
        embedding.params[0][...] += 1
        assert_array_equal(backend.to_numpy(y), before)
    assert embedding.cache is None


def test_init_gives_the_same_weights_on_every_backend(backend: Backend) -> None:
    (W,) = Embedding.init(V, E, rng=3, backend=backend).params
    assert W.dtype == np.float32
    assert_array_equal(backend.to_numpy(W), Embedding.init(V, E, rng=3, backend="numpy").params[0])


def test_bad_input(backend: Backend) -> None:
    xp = backend.xp
    embedding = Embedding.init(V, E, rng=0, backend=backend)
    with one_line(RuntimeError, "backward needs a forward before it"):
        embedding.backward(xp.zeros((4, E), "float32"))
    for dtype in ("float32", "bool", "complex64"):
        with one_line(TypeError, f"index has dtype {dtype}", "expected integers", "index.astype('int64')"):
            embedding.forward(xp.zeros(4, dtype))
    with one_line(TypeError, "index is a list", "use xrnn.asarray(index)"):
        embedding.forward([1, 2])  # type: ignore[arg-type]
    with one_line(TypeError, "index is a", f"this Embedding is on the {backend.name} backend"):
        embedding.forward((standin if backend.name == "numpy" else np).zeros(4, "int64"))
    embedding.forward(xp.zeros((2, 4), "int64"))
    refused(
        (ValueError, lambda: embedding.backward(xp.zeros((2, 3), "float32")), "dy has shape (2, 3)"),
        (TypeError, lambda: embedding.backward(xp.zeros((2, 4, 3))), "dy has dtype float64", "computes in float32"),
        (ValueError, lambda: Embedding(xp.zeros(3)), "W has shape (3,)", "expects (V, E)"),
        (TypeError, lambda: Embedding.init("7", E), "vocabulary_size is '7'", "expected an integer, at least 1"),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("bad", [-1, V, 10**9])
def test_an_index_outside_the_table(bad: int) -> None:
    embedding = Embedding.init(V, E, rng=0, backend="numpy")
    with one_line(IndexError, "index holds values from", str(bad), "expected 0 to 6", "make the table larger"):
        embedding.forward(np.array([2, bad, 3]))
