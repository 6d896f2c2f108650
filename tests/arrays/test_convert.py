"""`asarray` and `to_numpy`: values, dtypes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from xrnn import asarray, to_numpy
from xrnn.backend import Backend


@pytest.mark.parametrize("dtype", [None, "float32", "float64", "int64"])
def test_asarray_and_to_numpy_keep_values(backend: Backend, dtype: Any) -> None:
    host = np.arange(6.0).reshape(2, 3)
    for order in (host, np.asfortranarray(host)):
        moved = asarray(order, dtype, backend=backend)
        assert backend.owns(moved)
        assert moved.dtype == np.dtype(dtype or "float64")
        assert asarray(moved, backend=backend) is moved
        back = to_numpy(moved)
        assert type(back) is np.ndarray
        np.testing.assert_array_equal(back, host)
    for value in (3, 2.5, [1, 2], [[1.0], [2.0]], (True, False), range(3)):
        np.testing.assert_array_equal(to_numpy(asarray(value, backend=backend)), np.asarray(value))


@pytest.mark.parametrize(
    "value", [None, "ab", b"ab", {}, {1, 2}, ["a", "b"], [None], [[1.0], [1.0, 2.0]], object(), iter([1])]
)
def test_asarray_of_values_without_numbers(backend: Backend, value: Any) -> None:
    with one_line(TypeError, f"array is a {type(value).__name__}: expected an array, a number, or nested lists"):
        asarray(value, backend=backend)
    for values in (["a"], [None, 3], [np.datetime64("2024-01-01")]):
        with one_line(TypeError, f"array has dtype {np.array(values).dtype}: expected numbers"):
            asarray(np.array(values), backend="numpy")
