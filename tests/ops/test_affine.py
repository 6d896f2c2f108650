"""Every form of the affine map and of softmax cross-entropy agrees with float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.layouts import LAYOUTS, lay_out
from tests.reference import solve_affine, solve_classification
from xrnn import use_fused
from xrnn.backend import Backend

HostArray = np.ndarray[Any, np.dtype[Any]]

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}

# Sizes 0 and 1, and some larger than a vector register, a tile, a chunk of rows and a thread's share.
ROWS = st.integers(0, 9) | st.integers(10, 600)
COLUMNS = st.integers(1, 5) | st.integers(6, 150)
DTYPES = st.sampled_from(["float32", "float64"])


def agrees(backend: Backend, got: Any, want: HostArray, dtype: str, name: str) -> None:
    found, finite = backend.to_numpy(got), np.isfinite(want)
    assert found.dtype == dtype
    assert_array_equal(np.isfinite(found), finite, err_msg=f"which elements of {name} are finite")
    scale = max(1.0, float(abs(want[finite]).max(initial=0)))
    assert_allclose(found[finite], want[finite], rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)


@given(
    sizes=st.tuples(ROWS, COLUMNS, COLUMNS),
    dtype=DTYPES,
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 4),
    spoiler=st.sampled_from([None, None, None, np.nan, np.inf, -np.inf]),
    spoilt=st.sampled_from(["x", "W", "b", "dy"]),
)
def test_affine_in_each_form(
    backend: Backend,
    sizes: tuple[int, int, int],
    dtype: str,
    layouts: tuple[str, ...],
    spoiler: float | None,
    spoilt: str,
) -> None:
    """In half of the cases an operand has a NaN or an infinity, which reaches the same elements as in float64."""
    M, D, C = sizes
    p = problems.affine(M, D, C, dtype)
    if spoiler is not None and (array := getattr(p, spoilt)).size:
        array.flat[(7 * M + D + C) % array.size] = spoiler
    x, W, b, dy = (lay_out(backend, a, o) for a, o in zip((p.x, p.W, p.b, p.dy), layouts, strict=True))
    with np.errstate(all="ignore"):
        expected = solve_affine(p)
    for fused in (False, True):
        both = []
        with use_fused(fused), np.errstate(all="ignore"):
            for needs_dx in (True, False):
                dW, db = (backend.xp.full(shape, np.nan, dtype) for shape in [(D, C), (C,)])
                both.append((backend.affine_backward(x, W, dy, dW, db, needs_dx), dW, db))
            (dx, *weights), (none, *without) = both
            assert none is None
            for got, want in zip(without, weights, strict=True):
                assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))
            got = {"y": backend.affine_forward(x, W, b), "dx": dx, "dW": weights[0], "db": weights[1]}
        for name, want in expected.items():
            agrees(backend, got[name], want, dtype, name)


@given(sizes=st.tuples(ROWS, COLUMNS), dtype=DTYPES, layout=st.sampled_from(LAYOUTS), fused=st.booleans())
def test_cross_entropy(backend: Backend, sizes: tuple[int, int], dtype: str, layout: str, fused: bool) -> None:
    M, C = sizes
    p = problems.classification(M, C, dtype, scale=30)
    with use_fused(fused):
        loss, dlogits = backend.cross_entropy(
            lay_out(backend, p.logits, layout), backend.asarray(p.targets), backend.asarray(p.weight)
        )
    expected = solve_classification(p)
    agrees(backend, loss, expected["losses"].sum(), dtype, "loss")
    agrees(backend, dlogits, expected["dlogits"], dtype, "dlogits")


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("C", [5, 40])
def test_cross_entropy_of_infinities_and_nan(backend: Backend, C: int, fused: bool) -> None:
    logits = np.zeros((3, C), "float32")
    logits[0, 1] = -np.inf  # a class of probability 0
    logits[1, C - 1] = np.nan
    logits[2] = 1e30  # equal logits: all classes have the same probability
    targets, weight = backend.asarray(np.zeros(3, int)), backend.asarray(np.ones(3, "float32"))
    with use_fused(fused):
        loss, dlogits = backend.cross_entropy(backend.asarray(logits), targets, weight)
    found = backend.to_numpy(dlogits)
    assert np.isnan(backend.to_numpy(loss))
    assert found[0, 1] == 0
    assert_allclose(found[0, 2:], 1 / (C - 1), rtol=1e-5)
    assert np.isnan(found[1]).all()
    assert_allclose(found[2, 1:], 1 / C, rtol=1e-5)


def test_the_error_of_a_long_row_does_not_grow(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal((8, 100_000))).astype("float32")
    targets, weight = np.zeros(8, int), np.ones(8, "float32")
    z = logits.astype("float64")
    total = np.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1)
    for fused in (False, True):
        with use_fused(fused):
            _, dlogits = backend.cross_entropy(*(backend.asarray(a) for a in (logits, targets, weight)))
        found = backend.to_numpy(dlogits)
        largest = z[:, 1:].argmax(axis=-1) + 1  # among the classes that are not the target
        p = np.exp(z - z.max(axis=-1, keepdims=True))[np.arange(8), largest] / total
        assert_allclose(found[np.arange(8), largest], p, rtol=1e-6)
