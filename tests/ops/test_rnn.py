"""The operations of the seam: their values, and that every form of one agrees with its plain form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.layouts import LAYOUTS, lay_out
from tests.reference import rnn_backward, rnn_forward
from xrnn import use_fused
from xrnn.backend import OPERATIONS, Backend
from xrnn.ops.cells.rnn import NONLINEARITIES, Nonlinearity, RNNCache, RNNCell

HostArray = np.ndarray[Any, np.dtype[Any]]

# float32 sums of up to a few hundred terms of size one, over a few steps.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@dataclass
class Problem:
    """Random operands of both operations; Wh shrinks the state, so that rounding errors don't grow with T."""

    cell: RNNCell
    dtype: str
    x: HostArray
    Wx: HostArray
    Wh: HostArray
    b: HostArray
    h_prev: HostArray
    dh: HostArray
    layouts: tuple[str, ...]  # of x, Wx, Wh, b, h_prev, dh

    def forward(self, backend: Backend) -> RNNCache:
        operands = (self.x, self.Wx, self.Wh, self.b, self.h_prev)
        laid_out = [lay_out(backend, a, layout) for a, layout in zip(operands, self.layouts, strict=False)]
        return backend.recurrence_forward(self.cell, *laid_out)

    def backward(self, backend: Backend, cache: RNNCache) -> dict[str, HostArray]:
        poisoned = [backend.xp.full(a.shape, np.nan, self.dtype) for a in (self.Wx, self.Wh, self.b)]
        dh = lay_out(backend, self.dh, self.layouts[-1])
        dx, dh_prev = backend.recurrence_backward(self.cell, cache, dh, *poisoned)
        arrays = zip(("dx", "dh_prev", "dWx", "dWh", "db"), (dx, dh_prev, *poisoned), strict=True)
        return {name: backend.to_numpy(array) for name, array in arrays}


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    # Zero sizes, single ones, and some beyond a vector register, a tile and a thread's share of rows.
    T, N = draw(st.integers(0, 5)), draw(st.integers(0, 5) | st.integers(6, 70))
    D, H = draw(st.integers(1, 40)), draw(st.integers(1, 5) | st.integers(6, 70))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = [(T, N, D), (D, H), (H, H), (H,), (N, H), (T, N, H)]
    scales = [1, 1 / np.sqrt(D), 0.5 / np.sqrt(H), 1, 1, 1]
    x, Wx, Wh, b, h_prev, dh = (
        (scale * rng.standard_normal(shape)).astype(dtype) for shape, scale in zip(shapes, scales, strict=True)
    )
    cell = RNNCell(draw(st.sampled_from(NONLINEARITIES)))
    layouts = draw(st.tuples(*[st.sampled_from(LAYOUTS)] * 6))
    return Problem(cell, dtype, x, Wx, Wh, b, h_prev, dh, layouts)


@given(problem=problems())
def test_forward_agrees_in_every_form(backend: Backend, problem: Problem) -> None:
    p, nonlinearity = problem, problem.cell.nonlinearity
    expected = rnn_forward(p.x, p.h_prev, (p.Wx, p.Wh, p.b), nonlinearity)
    for fused in (False, True):
        with use_fused(fused):
            cache = p.forward(backend)
        hs = backend.to_numpy(cache.hs)
        assert hs.dtype == p.dtype
        assert_allclose(hs, expected, rtol=0, atol=TOLERANCE[p.dtype] * max(1, abs(expected).max(initial=0)))


@given(problem=problems())
def test_any_backward_accepts_any_forward(backend: Backend, problem: Problem) -> None:
    p = problem
    with use_fused(False):
        plain_cache = p.forward(backend)
        expected = p.backward(backend, plain_cache)
    with use_fused(True):
        fused_cache = p.forward(backend)
    if p.cell.nonlinearity == "relu":  # its slope jumps at 0, so both must see the same side of it
        fused_cache.hs[...] = plain_cache.hs
    for cache, fused in [(plain_cache, True), (fused_cache, False), (fused_cache, True)]:
        with use_fused(fused):
            found = p.backward(backend, cache)
        for name, want in expected.items():
            assert found[name].dtype == p.dtype
            atol = 2 * TOLERANCE[p.dtype] * max(1, abs(want).max(initial=0))
            assert_allclose(found[name], want, rtol=0, atol=atol, err_msg=name)


@given(problem=problems(), fused=st.booleans())
def test_gradients_agree_with_the_reference(backend: Backend, problem: Problem, fused: bool) -> None:
    p = problem
    with use_fused(fused):
        cache = p.forward(backend)
        found = p.backward(backend, cache)
    hs = backend.to_numpy(cache.hs)
    expected = rnn_backward(p.x, hs, (p.Wx, p.Wh, p.b), p.dh, p.cell.nonlinearity)
    for name, got in found.items():
        want = getattr(expected, name)
        atol = 2 * TOLERANCE[p.dtype] * max(1, abs(want).max(initial=0))
        assert_allclose(got, want, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_forward_without_a_state_starts_from_zeros(backend: Backend, nonlinearity: Nonlinearity) -> None:
    rng = np.random.default_rng(0)
    x, Wx, Wh, b, zeros = (
        backend.asarray(a)
        for a in [*(rng.standard_normal(s) for s in [(3, 2, 4), (4, 5), (5, 5), (5,)]), np.zeros((2, 5))]
    )
    cell = RNNCell(nonlinearity)
    absent = backend.recurrence_forward(cell, x, Wx, Wh, b, None).hs
    assert_array_equal(
        backend.to_numpy(absent), backend.to_numpy(backend.recurrence_forward(cell, x, Wx, Wh, b, zeros).hs)
    )


@given(
    sizes=st.tuples(*[st.integers(0, 9)] * 3),
    dtype=st.sampled_from(["float32", "float64"]),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 2),
)
def test_matmul_add(backend: Backend, sizes: tuple[int, int, int], dtype: str, layouts: tuple[str, str]) -> None:
    M, K, P = sizes
    rng = np.random.default_rng(0)
    a, b, out = (rng.standard_normal(shape).astype(dtype) for shape in [(M, K), (K, P), (M, P)])
    total = backend.asarray(out.copy())
    backend.matmul_add(lay_out(backend, a, layouts[0]), lay_out(backend, b, layouts[1]), total)
    expected = out.astype("float64") + a.astype("float64") @ b.astype("float64")
    assert_allclose(backend.to_numpy(total), expected, rtol=0, atol=TOLERANCE[dtype])


@given(
    index=st.lists(st.integers(0, 6), max_size=40),
    index_dtype=st.sampled_from(["uint8", "int32", "int64"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_add_rows(backend: Backend, index: list[int], index_dtype: str, dtype: str) -> None:
    rows = np.random.default_rng(0).standard_normal((len(index), 3)).astype(dtype)
    out = backend.xp.full((7, 3), np.nan, dtype)  # every row is overwritten, those without an index too
    backend.add_rows(backend.asarray(rows), backend.asarray(np.array(index, index_dtype)), out)
    expected = np.zeros((7, 3))
    for i, row in zip(index, rows, strict=True):
        expected[i] += row
    assert_allclose(backend.to_numpy(out), expected, rtol=0, atol=TOLERANCE[dtype])


def test_add_rows_in_blocks(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrnn.backend._ONE_HOT_SIZE", 10)  # blocks of two rows, and a last one of one
    index, rows = np.array([4, 0, 4, 2, 3]), np.arange(10.0).reshape(5, 2)
    out = backend.xp.full((5, 2), np.nan)
    Backend.add_rows(backend, backend.asarray(rows), backend.asarray(index), out)
    assert_array_equal(backend.to_numpy(out), [[2, 3], [0, 0], [6, 7], [8, 9], [4, 6]])


def test_explain_names_a_form_of_every_operation(backend: Backend) -> None:
    sizes = {"T": 5, "N": 3, "D": 4, "H": 6}
    for operation in OPERATIONS:
        explanation = backend.explain(operation, RNNCell(), sizes, "float32")
        assert explanation.form
        assert explanation.why
    with pytest.raises(ValueError, match="unknown operation 'dream': expected one of matmul_add, recurrence_forward"):
        backend.explain("dream", RNNCell(), sizes, "float32")  # type: ignore[arg-type]
