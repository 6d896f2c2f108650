"""Products in TF32 and bfloat16 by cuBLAS, on the stand-in: which products use it, and which operands it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import standin as cp
from tests.conftest import STANDIN
from tests.layouts import LAYOUTS, lay_out
from tests.standin.counting import counted
from xrnn import GRU, LSTM, RNN, Linear, use_fused, use_precision
from xrnn.backends.cupy.products import Cublas
from xrnn.ops.cells.rnn import RNNCell

BITS = {"tf32": 11, "bfloat16": 8}
SIZES = {"T": 5, "N": 3, "D": 2, "H": 7}


def rounded(a: Any, precision: str) -> Any:
    fraction, exponent = np.frexp(np.asarray(a, "float64"))
    return np.ldexp(np.rint(np.ldexp(fraction, BITS[precision])), exponent - BITS[precision])


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("layout_b", LAYOUTS)
@pytest.mark.parametrize("layout_a", LAYOUTS)
@pytest.mark.parametrize("precision", BITS)
def test_each_product_rounds_its_factors(precision: Any, layout_a: str, layout_b: str) -> None:
    cublas, (a, b, c) = Cublas(cp), (draw(4, 5), draw(5, 7), draw(4, 7))
    a_, b_ = lay_out(STANDIN, a, layout_a), lay_out(STANDIN, b, layout_b)
    out, sums = cp.asarray(c), cp.asarray(c)
    with use_precision(precision):
        found = [cublas.dot(a_, b_), cublas.dot(a_, b_, out), cublas.matmul(a_, b_, out=cp.empty((4, 7), "float32"))]
        cublas.gemm("N", "N", a_, b_, out=sums, alpha=1.0, beta=1.0)
    product = rounded(a, precision) @ rounded(b, precision)
    for got in (*found, out):
        assert_allclose(cp.asnumpy(got), product, rtol=0, atol=1e-5)
    assert_allclose(cp.asnumpy(sums), product + c, rtol=0, atol=1e-5)
    assert abs(product - a.astype("float64") @ b).max() > 1e-4  # a product in float32 would have failed


@pytest.mark.parametrize("precision", BITS)
def test_operands_that_are_columns_of_a_matrix_and_outputs_in_fortran_order(precision: Any) -> None:
    cublas, (a, b) = Cublas(cp), (draw(4, 15), draw(6, 7))
    out = cp.asarray(np.zeros((7, 4), "float32")).T
    with use_precision(precision), counted() as counters:
        cublas.gemm("N", "T", cp.asarray(a)[:, 5:11], cp.asarray(b.T), out=out, alpha=1.0, beta=0.0)
        transposed = cublas.dot(cp.asarray(b).T, cp.asarray(a)[:, 5:11].T)
    assert counters.gemms == 2
    expected = rounded(a[:, 5:11], precision) @ rounded(b, precision)
    assert_allclose(cp.asnumpy(out), expected, rtol=0, atol=1e-5)
    assert_allclose(cp.asnumpy(transposed), expected.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", BITS)
def test_other_products_are_cupys_own(precision: Any) -> None:
    cublas, a, b = Cublas(cp), draw(4, 5), draw(5, 7)
    with use_precision(precision):
        for got in (
            cublas.dot(cp.asarray(a.astype("float64")), cp.asarray(b.astype("float64"))),
            cublas.dot(cp.asarray(a[0]), cp.asarray(b)),
        ):
            assert_allclose(cp.asnumpy(got), (a if got.ndim == 2 else a[0]) @ b, rtol=0, atol=1e-5)
        empty = cublas.dot(cp.ones((0, 5), "float32"), cp.asarray(b))
    assert empty.shape == (0, 7)


def test_a_device_without_such_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cp.cuda.Device, "compute_capability", "75")
    cublas, a, b = Cublas(cp), draw(4, 5), draw(5, 7)
    with use_precision("bfloat16"):
        assert_array_equal(cp.asnumpy(cublas.dot(cp.asarray(a), cp.asarray(b))), a @ b)


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_a_layer_is_less_exact_by_the_precision_and_the_self_test_is_not(kind: Any, precision: Any) -> None:
    layer, on_host = kind.init(3, 8, rng=0, backend=STANDIN), kind.init(3, 8, rng=0, backend="numpy")
    x = draw(6, 4, 3)

    def hidden(layer: Any, x: Any) -> Any:
        result = layer(x)
        return result[0] if isinstance(result, tuple) else result

    exact = hidden(on_host, x)
    with use_precision(precision):
        found = cp.asnumpy(hidden(layer, cp.asarray(x)))
    unit = 2.0 ** -BITS[precision]
    assert unit / 100 < abs(found - exact).max() < 4 * unit


@pytest.mark.parametrize("precision", BITS)
def test_linear_forward_and_backward(precision: Any) -> None:
    linear = Linear.init(5, 7, rng=0, backend=STANDIN)
    x, dy, W = draw(4, 5), draw(4, 7), cp.asnumpy(linear.W)
    with use_precision(precision):
        y = linear.forward(cp.asarray(x))
        dx = linear.backward(cp.asarray(dy))
    assert_allclose(cp.asnumpy(y), rounded(x, precision) @ rounded(W, precision), rtol=0, atol=1e-5)
    assert_allclose(cp.asnumpy(dx), rounded(dy, precision) @ rounded(W, precision).T, rtol=0, atol=1e-5)


def test_explain_names_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def why(operation: Any, dtype: str = "float32") -> str:
        return STANDIN.explain(operation, RNNCell(), SIZES, dtype).why

    assert "bfloat16" not in why("matmul_add")
    with use_precision("bfloat16"):
        assert why("matmul_add").endswith("; products by cuBLAS in bfloat16")
        assert "bfloat16" not in why("matmul_add", "float64")
        assert "products by cuBLAS in bfloat16" in why("affine_forward")
        forward = why("recurrence_forward")
        assert "products by cuBLAS in bfloat16, except the recurrent product of this kernel: float32" in forward
        with use_fused(False):
            assert "bfloat16" in why("recurrence_forward")
        monkeypatch.setattr(STANDIN.launcher.cublas, "is_capable", lambda: False)
        assert why("matmul_add").endswith("; products in float32: bfloat16 needs compute capability 8.0")
