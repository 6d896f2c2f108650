"""Products of operands rounded to bfloat16: the rounding itself, and which operands of an operation are rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.layouts import LAYOUTS, lay_out
from tests.ops.test_recurrence import Run
from tests.reference import CELLS, problem, solve
from xrnn import use_fused, use_precision
from xrnn.backend import Backend
from xrnn.ops.products import round_to_bfloat16
from xrnn.typing import HostArray

SMALLEST_NORMAL = 2.0**-126


def nearest(a: Any) -> HostArray:
    """float32 numbers with significands of 8 bits, by arithmetic; ties go to the even one."""
    fraction, exponent = np.frexp(np.asarray(a, "float64"))
    return np.ldexp(np.rint(np.ldexp(fraction, 8)), exponent - 8)


@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_rounds_to_the_nearest_bfloat16(backend: Backend, bits: list[int]) -> None:
    a = np.array(bits, "uint32").view("float32")
    rounded = backend.to_numpy(round_to_bfloat16(backend.xp, backend.asarray(a)))
    assert rounded.dtype == "float32"
    normal = np.isfinite(a) & (np.abs(a) >= SMALLEST_NORMAL)
    with np.errstate(over="ignore"):
        assert_array_equal(rounded[normal], nearest(a[normal]).astype("float32"))
    assert_array_equal(np.isnan(rounded), np.isnan(a))
    assert_array_equal(rounded[np.isinf(a)], a[np.isinf(a)])
    small = np.abs(a) < SMALLEST_NORMAL
    assert_array_equal(rounded[small], 0)
    assert_array_equal(np.signbit(rounded), np.signbit(a))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1 + 2**-8, 1),  # a tie goes to the even significand
        (1 + 3 * 2**-8, 1 + 2**-6),
        (1 + 2**-8 + 2**-23, 1 + 2**-7),
        ((2 - 2**-8) * 2.0**127, np.inf),  # half a unit below 2¹²⁸
        ((2 - 2**-8 - 2**-23) * 2.0**127, (2 - 2**-7) * 2.0**127),  # to the largest bfloat16
        (2.0**-126, 2.0**-126),
        (2.0**-127, 0),
    ],
)
def test_cases_of_rounding(value: float, expected: float) -> None:
    both, rounded = (np.array([number, -number], "float32") for number in (value, expected))
    assert_array_equal(round_to_bfloat16(np, both), rounded)


# ---- the operations ----


def rounded_affine(p: problems.Affine) -> dict[str, HostArray]:
    """y, dx, dW and db in float64, from operands of the products that are rounded to bfloat16."""
    x, W, dy = nearest(p.x), nearest(p.W), nearest(p.dy)
    return {"y": x @ W + p.b, "dx": dy @ W.T, "dW": x.T @ dy, "db": p.dy.astype("float64").sum(0)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 9, 5), (7, 3, 4), (40, 33, 17)])
def test_the_affine_map_rounds_its_factors_and_not_its_sums(
    backend: Backend, sizes: tuple[int, int, int], layout: str
) -> None:
    (M, D, C), p = sizes, problems.affine(*sizes, "float32")
    x, W, b, dy = (lay_out(backend, array, layout) for array in (p.x, p.W, p.b, p.dy))
    dW, db = backend.xp.full((D, C), np.nan, "float32"), backend.xp.full(C, np.nan, "float32")
    with use_precision("bfloat16"), use_fused(False):
        found = {"y": backend.affine_forward(x, W, b), "dx": backend.affine_backward(x, W, dy, dW, db)}
    found |= {"dW": dW, "db": db}
    for name, want in rounded_affine(p).items():
        got = backend.to_numpy(found[name])
        assert_allclose(got, want, rtol=0, atol=1e-6 * M * max(1, np.abs(want).max()), err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_one_step_is_the_step_of_rounded_factors(backend: Backend, cell: str) -> None:
    """The results are the textbook's, in float64, for rounded x, Wx and Wh. The initial states have few bits anyway."""
    p = problem(cell, (1, 4, 3, 9), "float32")
    for state in p.initial:
        state[...] = nearest(state)
    run = Run(p, backend)
    with use_precision("bfloat16"), use_fused(False):
        found = run.results(run.forward())
    for array in (p.x, *p.weights[:2]):
        array[...] = nearest(array)
    tolerance = 0.01 if cell == "gru reset before" else 1e-6  # it computes r · h @ Wh itself, in float32
    for got, want in zip(found, solve(p).states, strict=True):
        assert_allclose(got, want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradients_of_one_row_are_products_of_rounded_factors(backend: Backend, cell: str) -> None:
    """For one row and one step, db is dz. So dx and dWx follow from it."""
    p = problem(cell, (1, 1, 3, 9), "float32")
    run = Run(p, backend)
    with use_precision("bfloat16"), use_fused(False):
        gradients = run.backward(run.forward())
    x, Wx = nearest(p.x[0, 0]), nearest(p.weights[0])
    dz = nearest(gradients["db"][: Wx.shape[1]])
    assert_allclose(gradients["dWx"], np.outer(x, dz), rtol=1e-6)
    assert_allclose(gradients["dx"][0, 0], dz @ Wx.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_float64_does_not_change(backend: Backend, form: str, precision: Any) -> None:
    run = Run(problem("lstm", (4, 3, 2, 5), "float64"), backend)
    p = problems.affine(4, 3, 5, "float64")
    x, W, b = (backend.asarray(array) for array in (p.x, p.W, p.b))

    def results() -> list[HostArray]:
        trace = run.forward()
        gradients = run.backward(trace)
        return [*run.results(trace), *gradients.values(), backend.to_numpy(backend.affine_forward(x, W, b))]

    before = results()
    with use_precision(precision):
        for got, want in zip(results(), before, strict=True):
            assert_array_equal(got, want)
