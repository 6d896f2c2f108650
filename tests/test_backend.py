"""The operations of each backend against plain formulas in float64, and the forms that `explain` names."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.conftest import STANDIN
from tests.errors import one_line
from tests.layouts import LAYOUTS, lay_out
from xrnn.backend import OPERATIONS, Backend, Explanation
from xrnn.backends.numpy import NumpyBackend
from xrnn.info import explain
from xrnn.ops import affine
from xrnn.ops.cells.rnn import RNNCell
from xrnn.typing import HostArray

SIZES = {"T": 5, "N": 3, "D": 2, "H": 7}
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


# ---- matmul_add ----


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", [(3, 5, 7), (1, 1, 1), (0, 5, 7), (3, 0, 7), (3, 5, 0)], ids=str)
def test_matmul_add(backend: Backend, sizes: tuple[int, int, int], dtype: str) -> None:
    M, K, P = sizes
    rng = np.random.default_rng(0)
    a, b, out = (rng.standard_normal(shape).astype(dtype) for shape in [(M, K), (K, P), (2, M, P)])
    for layouts in itertools.product(LAYOUTS, LAYOUTS):
        result = backend.asarray(out.copy())
        a_, b_ = (lay_out(backend, array, layout) for array, layout in zip((a, b), layouts, strict=True))
        backend.matmul_add(a_, b_, result[1])
        assert_allclose(backend.to_numpy(result[1]), out[1] + a @ b, rtol=0, atol=10 * TOLERANCE[dtype])
        assert_array_equal(backend.to_numpy(result[0]), out[0])


# ---- add_rows ----


@pytest.mark.parametrize("one_hot", [7, None])  # blocks of few rows, or one
@pytest.mark.parametrize(
    "index",
    [[0], [4], [1, 1, 1, 1], [3, 0, 3, 1, 0, 3], list(range(5)), [], [k * k % 5 for k in range(60)]],
    ids=["first", "last", "one row", "repeats", "each once", "none", "many"],
)
def test_add_rows(backend: Backend, index: list[int], one_hot: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if one_hot:
        monkeypatch.setattr(affine, "ONE_HOT_SIZE", one_hot)
    rows, expected = np.random.default_rng(0).standard_normal((len(index), 3)), np.zeros((5, 3))
    np.add.at(expected, np.array(index, int), rows)
    integers_of_all_sizes = ("int8", "uint8", "int32", "uint32", "int64", "uint64")
    for dtype, (integers, layout) in itertools.product(TOLERANCE, zip(integers_of_all_sizes, LAYOUTS, strict=True)):
        out, laid_out = backend.xp.full((5, 3), np.nan, dtype), lay_out(backend, rows.astype(dtype), layout)
        backend.add_rows(laid_out, backend.asarray(np.array(index, integers)), out)
        assert_allclose(backend.to_numpy(out), expected, rtol=0, atol=TOLERANCE[dtype] * 30)


@pytest.mark.parametrize(("size", "indices", "blocks"), [(7, 3, [2, 2, 1]), (2, 3, [1] * 5), (7, 1, [5]), (7, 0, [5])])
def test_the_one_hot_matrix_stays_within_its_size(
    size: int, indices: int, blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affine, "ONE_HOT_SIZE", size)
    made: list[int] = []

    def matmul(one_hot: HostArray, rows: HostArray, out: HostArray) -> None:
        made.append(len(one_hot))
        np.matmul(one_hot, rows, out=out)

    xp = SimpleNamespace(arange=np.arange, matmul=matmul)
    affine.add_rows(xp, np.ones((indices, 2)), np.zeros(indices, "int64"), np.empty((5, 2)))
    assert made == blocks  # of rows of `out`


def test_add_rows_is_reproducible(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    index = backend.asarray(rng.integers(0, 4, 1000))
    rows = backend.asarray((10.0 ** rng.integers(-6, 7, (1000, 3)) * rng.standard_normal((1000, 3))).astype("float32"))
    sums = [backend.xp.empty((4, 3), "float32") for _ in range(2)]
    for out in sums:
        backend.add_rows(rows, index, out)
    assert_array_equal(backend.to_numpy(sums[0]), backend.to_numpy(sums[1]))


# ---- explain and the fused forms ----


@pytest.mark.parametrize("operation", OPERATIONS)
def test_explain_names_a_form_and_a_reason(backend: Backend, operation: Any, form: str) -> None:
    explanation = explain(backend, operation, RNNCell(), SIZES, "float32")
    assert isinstance(explanation, Explanation)
    assert explanation.form
    assert explanation.why
    if form == "plain":
        assert explanation.form == "plain"


def test_explain_an_unknown_operation(backend: Backend) -> None:
    with one_line(ValueError, "unknown operation 'matmul'", f"expected one of {', '.join(OPERATIONS)}"):
        explain(backend, "matmul", RNNCell(), SIZES, "float32")  # type: ignore[arg-type]


def test_explain_the_plain_form() -> None:
    expected = Explanation("plain", "the numpy backend has no other form of it")
    assert explain(NumpyBackend(), "matmul_add", RNNCell(), SIZES, "float32") == expected


# ---- the rest ----


def test_owns(backend: Backend) -> None:
    assert backend.owns(backend.xp.zeros(3))
    other = STANDIN if backend.name == "numpy" else NumpyBackend()
    assert not backend.owns(other.xp.zeros(3))
    assert not backend.owns([1.0])
    assert not NumpyBackend().owns(np.ma.zeros(3))


def test_device_of(backend: Backend) -> None:
    with backend.device_of(backend.xp.zeros(3)):
        inside = backend.xp.zeros(3)
    assert inside.device == backend.xp.zeros(3).device


def test_reads_are_free_on_the_host_only() -> None:
    assert NumpyBackend().reads_are_free
    assert not STANDIN.reads_are_free
