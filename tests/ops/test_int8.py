"""Products of int8 weights: the rounding of weights and activations, and the error that it causes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.random_operands import draw
from xrnn.ops.int8 import product, quantize_columns, quantize_rows


@given(K=st.integers(1, 40), C=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_weight_is_off_by_half_a_unit_of_its_column(K: int, C: int, seed: int) -> None:
    W = draw(K, C, seed=seed) * np.logspace(-20, 20, C, dtype="float32")
    matrix = quantize_columns(W)
    assert matrix.values.dtype == "int8"
    assert matrix.scale.dtype == "float32"
    assert_array_equal(np.abs(matrix.values).max(axis=0), 127)
    error = np.abs(matrix.values * matrix.scale.astype("float64") - W)
    assert (error <= 0.5001 * matrix.scale).all()


@given(N=st.integers(1, 5), K=st.integers(1, 40), seed=st.integers(0, 99))
def test_an_activation_is_off_by_half_a_unit_of_its_row(N: int, K: int, seed: int) -> None:
    x = draw(N, K, seed=seed) * np.logspace(-20, 20, N, dtype="float32")[:, None]
    q, scale = quantize_rows(x)
    assert_array_equal(np.abs(q).max(axis=1), 127)
    assert (np.abs(q * scale.astype("float64") - x) <= 0.5001 * scale).all()


def test_zeros_and_numbers_that_are_too_small() -> None:
    W = np.array([[0, 1e-31, 1], [0, -1e-31, 0.5]], "float32")
    matrix = quantize_columns(W)
    assert_array_equal(matrix.values, [[0, 0, 127], [0, 0, 64]])
    assert_array_equal(matrix.scale, np.array([0, 0, 1 / 127], "float32"))
    q, scale = quantize_rows(W.T.copy())
    assert_array_equal(q, [[0, 0], [0, 0], [127, 64]])
    assert_array_equal(scale.ravel(), matrix.scale)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_with_nan_or_infinity_gives_nan_and_leaves_the_others(value: float) -> None:
    x, W = draw(3, 5), quantize_columns(draw(5, 4))
    expected = product(x, W)
    x[1, 2] = value
    found = product(x, W)
    assert np.isnan(found[1]).all()
    assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_the_error_of_a_product() -> None:
    """Both factors are off by half a unit: together, for random numbers, by about 1 % of the typical product."""
    x, W = draw(50, 400), draw(400, 30)
    exact = x.astype("float64") @ W
    error = product(x, quantize_columns(W)) - exact
    assert 0.002 < np.sqrt(np.mean(error**2) / np.mean(exact**2)) < 0.02
