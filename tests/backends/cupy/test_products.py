"""Products in TF32 and bfloat16 by cuBLAS, on the stand-in: which products use it, and which operands it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.conftest import STANDIN
from tests.layouts import LAYOUTS, lay_out
from tests.random_operands import draw
from tests.standin.counting import Counters, counted
from xrnn import GRU, LSTM, RNN, use_fused, use_precision
from xrnn.backends.cupy.products import Cublas
from xrnn.info import explain
from xrnn.ops.cells.rnn import RNNCell

BITS = {"tf32": 11, "bfloat16": 8}
SIZES = {"T": 5, "N": 3, "D": 2, "H": 7}
CUBLAS = Cublas(cp)


def rounded(a: Any, precision: str) -> Any:
    fraction, exponent = np.frexp(np.asarray(a, "float64"))
    return np.ldexp(np.rint(np.ldexp(fraction, BITS[precision])), exponent - BITS[precision])


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(cp.asnumpy(found), expected, rtol=0, atol=1e-5)


def product(precision: str, a: Any, b: Any) -> Any:
    return rounded(a, precision) @ rounded(b, precision)


@pytest.mark.parametrize("layout_b", LAYOUTS)
@pytest.mark.parametrize("layout_a", LAYOUTS)
@pytest.mark.parametrize("precision", BITS)
def test_each_product_rounds_its_factors(precision: Any, layout_a: str, layout_b: str) -> None:
    a, b, c = draw(4, 5), draw(5, 7), draw(4, 7)
    a_, b_ = lay_out(STANDIN, a, layout_a), lay_out(STANDIN, b, layout_b)
    out, sums, transposed = cp.asarray(c), cp.asarray(c), cp.asarray(np.zeros((7, 4), "float32"))
    with use_precision(precision):
        CUBLAS.dot(a_, b_, out)
        CUBLAS.gemm(a_, b_, transposed.T, 0.0)
        CUBLAS.gemm(a_, b_, sums, 1.0)
        found = [out, transposed.T, CUBLAS.dot(a_, b_), CUBLAS.matmul(a_, b_, out=cp.empty((4, 7), "float32"))]
    for got in found:
        assert_close(got, product(precision, a, b))
    assert_close(sums, product(precision, a, b) + c)
    assert abs(product(precision, a, b) - a.astype("float64") @ b).max() > 1e-4  # so float32 would fail above


@pytest.mark.parametrize("precision", BITS)
def test_columns_of_a_matrix_are_not_copied(precision: Any) -> None:
    a, b = draw(4, 15), draw(6, 7)
    columns, right = cp.asarray(a)[:, 5:11], cp.asarray(b)
    with use_precision(precision), counted() as counters:
        found, transposed = CUBLAS.dot(columns, right), CUBLAS.dot(right.T, columns.T)
    assert counters == Counters(gemms=2, streams={cp.cuda.Stream.null})
    for got in (found, transposed.T):
        assert_close(got, product(precision, a[:, 5:11], b))


@pytest.mark.parametrize(
    ("a", "capability"), [(draw(4, 5).astype("float64"), "90"), (draw(5), "90"), (draw(0, 5), "90"), (draw(4, 5), "75")]
)
@pytest.mark.parametrize("precision", BITS)
def test_other_products_are_cupys_own(precision: Any, a: Any, capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cp.cuda.Device, "compute_capability", capability)
    b = draw(5, 7).astype(a.dtype)
    with use_precision(precision):
        np.testing.assert_array_equal(cp.asnumpy(Cublas(cp).dot(cp.asarray(a), cp.asarray(b))), a @ b)


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_a_layer_is_less_exact_by_the_precision_and_the_self_test_is_not(kind: Any, precision: Any) -> None:
    x = draw(6, 4, 3)
    with use_precision(precision):
        found = kind.init(3, 8, rng=0, backend=STANDIN)(cp.asarray(x))
    exact = kind.init(3, 8, rng=0, backend="numpy")(x)
    if kind is LSTM:  # the others return h alone
        found, exact = found[0], exact[0]
    unit = 2.0 ** -BITS[precision]
    assert unit / 100 < abs(cp.asnumpy(found) - exact).max() < 4 * unit


def test_explain_names_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def why(operation: Any, dtype: str = "float32") -> str:
        return explain(STANDIN, operation, RNNCell(), SIZES, dtype).why

    assert why("matmul_add") == "one cuBLAS call accumulates into its output"
    with use_precision("bfloat16"):
        assert why("matmul_add").endswith("; products by cuBLAS in bfloat16")
        with use_precision("bfloat16x3"):  # cuBLAS computes in float32
            assert "bfloat16" not in why("matmul_add")
        assert "cuBLAS" in why("matmul_add", "float64")
        assert "cuBLAS" not in why("matmul_add", "float16")
        assert "bfloat16" not in why("matmul_add", "float64")
        assert "products by cuBLAS in bfloat16" in why("affine_forward")
        forward = why("recurrence_forward")
        assert "products by cuBLAS in bfloat16, except the recurrent product of this kernel: float32" in forward
        with use_fused(False):
            assert "bfloat16" in why("recurrence_forward")
        monkeypatch.setattr(STANDIN.launcher.cublas, "is_capable", lambda: False)
        assert why("matmul_add").endswith("; products in float32: bfloat16 needs compute capability 8.0")
