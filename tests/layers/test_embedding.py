"""Embedding: the lookup, and its backward pass, which sums over equal indices in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import one_line, refused
from tests.layouts import lay_out
from xrnn import Embedding
from xrnn.backend import Backend

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
def test_values_and_gradients(backend: Backend, shape: tuple[int, ...], dtype: str, strided: bool) -> None:
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


def test_the_output_is_a_copy(backend: Backend) -> None:
    embedding = Embedding.init(V, E, rng=0, backend=backend)
    for index in (np.array(2), np.array([2, 2])):
        y = embedding(backend.asarray(index))
        before = backend.to_numpy(y).copy()
        embedding.params[0][...] += 1
        assert_array_equal(backend.to_numpy(y), before)


def test_bad_input(backend: Backend) -> None:
    xp = backend.xp
    embedding: Any = Embedding.init(V, E, rng=0, backend=backend)
    dy = embedding.forward(xp.zeros((2, 4), "int64"))
    refused(
        (TypeError, lambda: embedding(xp.zeros(4)), "index has dtype float64: expected integers", "astype('int64')"),
        (ValueError, lambda: embedding.backward(dy[:, 0]), "dy has shape (2, 3)"),
        (TypeError, lambda: embedding.backward(xp.zeros((2, 4, 3))), "dy has dtype float64", "computes in float32"),
        (TypeError, lambda: embedding.backward(dy, cache="junk"), "cache is a str"),
        (ValueError, lambda: Embedding(xp.zeros(3)), "W has shape (3,)", "expects (V, E)"),
        (TypeError, lambda: embedding.init("7", E), "vocabulary_size is '7'", "expected an integer, at least 1"),
    )


@pytest.mark.parametrize("bad", [-1, V, 10**9])
def test_an_index_outside_the_table(bad: int) -> None:
    embedding = Embedding.init(V, E, rng=0, backend="numpy")
    with one_line(IndexError, "index holds values from", str(bad), "expected 0 to 6", "make the table larger"):
        embedding.forward(np.array([2, bad, 3]))
