"""The output layer and the loss, by pytest-benchmark: `pytest benchmarks/test_output.py`.

Sizes of a character model: 64 steps of 64 sequences, 256 hidden units, 256 classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from numpy.testing import assert_allclose

from xrnn import Linear, softmax_cross_entropy, use_fused

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

M, D, C = 64 * 64, 256, 256
FORMS: Final = ("plain", "fused")


@pytest.mark.parametrize("form", FORMS)
def test_linear(benchmark: BenchmarkFixture, form: str) -> None:
    rng = np.random.default_rng(0)
    linear = Linear.init(D, C, rng=rng, backend="numpy")
    x, dy = rng.standard_normal((M, D), np.float32), rng.standard_normal((M, C), np.float32)

    def forward_and_backward() -> tuple[np.ndarray, ...]:
        return linear.forward(x), linear.backward(dy), *linear.grads

    with use_fused(form == "fused"):
        y, dx, dW, db = benchmark(forward_and_backward)
    W, b = (a.astype("float64") for a in linear.params)
    for got, want in ((y, x @ W + b), (dx, dy @ W.T), (dW, x.T.astype("float64") @ dy), (db, dy.sum(0, "float64"))):
        assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("form", FORMS)
def test_cross_entropy(benchmark: BenchmarkFixture, form: str) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((M, C), np.float32), rng.integers(0, C, M)
    with use_fused(form == "fused"):
        loss, dlogits = benchmark(softmax_cross_entropy, logits, targets)
    p = np.exp(logits.astype("float64"))
    p /= p.sum(axis=-1, keepdims=True)
    picked = np.arange(M), targets
    assert_allclose(loss, -np.log(p[picked]).mean(), rtol=1e-5)
    p[picked] -= 1
    assert_allclose(dlogits, p / M, rtol=0, atol=1e-5 / M)
