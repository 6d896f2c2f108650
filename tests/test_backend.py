"""The operations of each backend against plain formulas in float64, and the forms that `explain` names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import STANDIN
from tests.errors import one_line
from tests.fresh import output_of, run_python
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
@pytest.mark.parametrize("layout_b", LAYOUTS)
@pytest.mark.parametrize("layout_a", LAYOUTS)
def test_matmul_add(backend: Backend, layout_a: str, layout_b: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b, out = (rng.standard_normal(shape) for shape in [(3, 5), (5, 7), (2, 3, 7)])
    result = backend.asarray(out.astype(dtype))
    backend.matmul_add(
        lay_out(backend, a.astype(dtype), layout_a), lay_out(backend, b.astype(dtype), layout_b), result[1]
    )
    np.testing.assert_allclose(backend.to_numpy(result[1]), out[1] + a @ b, rtol=0, atol=10 * TOLERANCE[dtype])
    np.testing.assert_array_equal(backend.to_numpy(result[0]), out[0].astype(dtype))


@given(sizes=st.tuples(*[st.integers(0, 6)] * 3), dtype=st.sampled_from(sorted(TOLERANCE)), seed=st.integers(0, 99))
def test_matmul_add_of_any_size(backend: Backend, sizes: tuple[int, int, int], dtype: str, seed: int) -> None:
    M, K, P = sizes
    rng = np.random.default_rng(seed)
    a, b, out = (rng.standard_normal(shape) for shape in [(M, K), (K, P), (M, P)])
    result = backend.asarray(out.astype(dtype))
    backend.matmul_add(backend.asarray(a.astype(dtype)), backend.asarray(b.astype(dtype)), result)
    np.testing.assert_allclose(backend.to_numpy(result), out + a @ b, rtol=0, atol=10 * TOLERANCE[dtype])


# ---- add_rows ----


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "index",
    [[0], [4], [1, 1, 1, 1], [3, 0, 3, 1, 0, 3], list(range(5)), []],
    ids=["first", "last", "one row", "repeats", "each once", "none"],
)
def test_add_rows(backend: Backend, index: list[int], dtype: str) -> None:
    V, E = 5, 3
    rows = np.random.default_rng(0).standard_normal((len(index), E))
    expected = np.zeros((V, E))
    for v, row in zip(index, rows, strict=True):
        expected[v] += row
    out = backend.xp.full((V, E), np.nan, dtype)
    backend.add_rows(backend.asarray(rows.astype(dtype)), backend.asarray(np.array(index, "int64")), out)
    np.testing.assert_allclose(backend.to_numpy(out), expected, rtol=0, atol=TOLERANCE[dtype] * 10)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_add_rows_takes_any_integers(backend: Backend, dtype: str) -> None:
    out = backend.xp.full((4, 1), np.nan)
    index = backend.asarray(np.array([3, 0, 3], dtype))
    backend.add_rows(backend.asarray(np.array([[1.0], [2.0], [4.0]])), index, out)
    np.testing.assert_array_equal(backend.to_numpy(out), [[2], [0], [0], [5]])


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


def test_add_rows_in_blocks(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrnn.ops.affine.ONE_HOT_SIZE", 7)  # blocks of two rows, and one of the last row
    rng = np.random.default_rng(0)
    index, rows = np.array([4, 1, 4]), rng.standard_normal((3, 2))
    out = backend.xp.full((5, 2), np.nan)
    backend.add_rows(backend.asarray(rows), backend.asarray(index), out)
    expected = np.zeros((5, 2))
    np.add.at(expected, index, rows)
    np.testing.assert_allclose(backend.to_numpy(out), expected, rtol=1e-14)


def test_add_rows_is_reproducible(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    index = backend.asarray(rng.integers(0, 4, 1000))
    rows = backend.asarray(rng.standard_normal((1000, 3)).astype("float32"))
    sums = [backend.xp.empty((4, 3), "float32") for _ in range(2)]
    for out in sums:
        backend.add_rows(rows, index, out)
    np.testing.assert_array_equal(backend.to_numpy(sums[0]), backend.to_numpy(sums[1]))


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


@pytest.mark.parametrize(("value", "enabled"), [(None, True), ("1", True), (" 0 ", False)])
def test_xrnn_fused(value: str | None, enabled: bool) -> None:
    code = """
import xrnn
from xrnn.backend import fused_forms, use_fused
print(fused_forms().enabled)
with use_fused(not fused_forms().enabled):
    print(fused_forms().enabled)
"""
    out = output_of(code, **({} if value is None else {"XRNN_FUSED": value}))
    assert out.split() == [str(enabled), str(not enabled)]


def test_an_invalid_xrnn_fused() -> None:
    failed = run_python("import numpy, xrnn; xrnn.Linear(numpy.ones((2, 3)), numpy.ones(3))", XRNN_FUSED="false")
    assert failed.stderr.endswith(
        "ValueError: XRNN_FUSED is 'false': expected 0 for the plain forms, or 1; set one of them\n"
    )


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
