"""The kernels' tanh at every instruction-set level: accuracy against mpmath, symmetry, and the special values."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from xrnn.backends.numpy import kernels

DTYPES = ["float32", "float64"]


def samples(dtype: str, per_exponent: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Random values of both signs in every binade, from the smallest subnormal to beyond saturation."""
    info = np.finfo(dtype)
    lowest = int(np.log2(info.smallest_subnormal))
    rng = np.random.default_rng(0)
    exponents = np.repeat(np.arange(lowest, 7), per_exponent)
    x = np.ldexp(rng.uniform(1, 2, exponents.size), exponents).astype(dtype)
    limits = np.array([info.tiny, info.smallest_subnormal, info.max, 0, np.inf], dtype)
    return np.concatenate([x, -x, limits, -limits])


def exact(x: np.ndarray[Any, np.dtype[Any]]) -> list[Any]:
    with mpmath.workprec(160):
        return [mpmath.tanh(mpmath.mpf(float(value))) for value in x]


@pytest.mark.parametrize("dtype", DTYPES)
def test_within_4_ulp_of_mpmath(level: str, dtype: str) -> None:
    # The error is largest where the polynomial matters, so that range has more samples.
    x = np.concatenate([samples(dtype, 4), np.random.default_rng(1).uniform(-12, 12, 4000).astype(dtype)])
    y = kernels.tanh(x)
    truth = exact(x)
    ulp = np.spacing(np.abs(np.array([float(t) for t in truth])).astype(dtype))
    with mpmath.workprec(160):
        errors = [float(abs(mpmath.mpf(float(a)) - t) / float(u)) for a, t, u in zip(y, truth, ulp, strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= 4, f"tanh({x[worst]!r}) = {y[worst]!r} is {errors[worst]:.2f} ulp off"


@pytest.mark.parametrize("dtype", DTYPES)
def test_is_odd_and_never_beyond_one(level: str, dtype: str) -> None:
    x = samples(dtype, 50)
    y = kernels.tanh(x)
    assert_array_equal(kernels.tanh(-x), -y)
    assert np.abs(y).max() == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(level: str, dtype: str) -> None:
    x = np.array([np.inf, -np.inf, 0.0, -0.0, np.nan, np.finfo(dtype).smallest_subnormal], dtype)
    y = kernels.tanh(np.tile(x, 9))  # in complete vectors and in the remainder
    assert_array_equal(y.reshape(9, 6), np.tile([1, -1, 0, 0, np.nan, x[-1]], (9, 1)).astype(dtype))
    assert_array_equal(np.signbit(y.reshape(9, 6)[:, 2:4]), [[False, True]] * 9)
