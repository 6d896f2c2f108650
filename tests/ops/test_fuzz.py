"""The fused and the plain form of every operation on the CPU agree for random operands.

Shapes, strides, dtypes, lengths and directions are random; half of the cases have a NaN or an infinity in one operand.
Both forms must agree to rounding, and in which elements are finite. Hypothesis reduces a failing case to a small one.
`pytest tests/ops/test_fuzz.py --hypothesis-profile=long` draws 100,000 cases, others in each run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from hypothesis import given, note
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.layouts import LAYOUTS, lay_out
from tests.ops.test_recurrence import Run
from tests.ops.test_recurrence import problems as any_problems
from xrnn import get_backend, use_fused
from xrnn.typing import HostArray

BACKEND: Final = get_backend("numpy")
# The forms sum a few hundred terms of size one in different orders, over a few steps.
TOLERANCE: Final = {"float32": 1e-4, "float64": 1e-12}
SPOILERS: Final = (None, None, None, np.nan, np.inf, -np.inf)

Results = dict[str, HostArray]


def sizes(least: int, most: int) -> st.SearchStrategy[int]:
    """Small sizes, and some larger than a vector register, a tile and a thread's share of rows."""
    return st.integers(least, 5) | st.integers(6, most)


dtypes, layouts, seeds = st.sampled_from(sorted(TOLERANCE)), st.sampled_from(LAYOUTS), st.integers(0, 99)
needs = st.sampled_from([True, True, False])


def spoil(draw: st.DrawFn, *arrays: HostArray | None) -> None:
    """Put one of SPOILERS into a random element of one of the arrays. If the chosen one is None, change nothing."""
    value = draw(st.sampled_from(SPOILERS))
    array = draw(st.sampled_from(arrays))
    if value is not None and array is not None and array.size:
        array[np.unravel_index(draw(st.integers(0, array.size - 1)), array.shape)] = value


def laid_out(draw: st.DrawFn, array: HostArray) -> Any:
    return lay_out(BACKEND, array, draw(layouts))


@st.composite
def recurrences(draw: st.DrawFn) -> Callable[[], Results]:
    p, needs_dx, needs_dweights = draw(any_problems(70)), draw(needs), draw(needs)
    if p.initial[0].size != 1:  # with one element NumPy calls BLAS' axpy, in which 0 · NaN and 0 · ∞ are 0
        spoil(draw, p.x, *p.initial, *p.weights, *p.dstates)

    def run() -> Results:
        note(f"{p.cell}, x {p.x.shape}, {p.dtype}, reverse={p.reverse}, lengths={p.lengths}")
        note(f"needs_dx={needs_dx}, needs_dweights={needs_dweights}")
        of = Run(p, BACKEND)
        trace = of.forward()
        states = dict(zip(p.case.states, of.results(trace), strict=True))
        return states | of.backward(trace, needs_dx=needs_dx, needs_dweights=needs_dweights)

    return run


@st.composite
def affines(draw: st.DrawFn) -> Callable[[], Results]:
    dtype, M, D, C = draw(dtypes), draw(sizes(0, 200)), draw(sizes(1, 90)), draw(sizes(1, 90))
    p = problems.affine(M, D, C, dtype, draw(seeds))
    spoil(draw, p.x, p.W, p.b, p.dy)
    x, W, b, dy = (laid_out(draw, array) for array in (p.x, p.W, p.b, p.dy))
    needs_dx = draw(needs)

    def run() -> Results:
        dW, db = np.full((D, C), 7, dtype), np.full(C, 7, dtype)
        y = BACKEND.affine_forward(x, W, b)
        dx = BACKEND.affine_backward(x, W, dy, dW, db, needs_dx)
        return {"y": y, "dW": dW, "db": db} | ({} if dx is None else {"dx": dx})

    return run


@st.composite
def losses(draw: st.DrawFn) -> Callable[[], Results]:
    dtype, rows, C = draw(dtypes), draw(sizes(1, 100)), draw(sizes(1, 300))
    p = problems.classification(rows, C, dtype, draw(seeds))
    spoil(draw, p.logits)
    logits = laid_out(draw, p.logits)

    def run() -> Results:
        loss, dlogits = BACKEND.cross_entropy(logits, p.targets, p.weight)
        return {"loss": np.asarray(loss), "dlogits": dlogits}

    return run


@st.composite
def sums_of_rows(draw: st.DrawFn) -> Callable[[], Results]:
    dtype, M, V, E = draw(dtypes), draw(sizes(0, 90)), draw(sizes(1, 50)), draw(sizes(1, 40))
    index = draw(st.lists(st.integers(0, V - 1), min_size=M, max_size=M))
    rows = laid_out(draw, problems.affine(M, E, 1, dtype, draw(seeds)).x)

    def run() -> Results:
        out = np.full((V, E), 7, dtype)
        BACKEND.add_rows(rows, np.array(index, "int64"), out)
        return {"out": out}

    return run


@given(run=recurrences() | affines() | losses() | sums_of_rows())
def test_fused_and_plain_agree(run: Callable[[], Results]) -> None:
    with np.errstate(all="ignore"):
        with use_fused(False):
            expected = {name: np.array(array) for name, array in run().items()}
        with use_fused(True):
            found = run()
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        # One form may give NaN and another infinity: (1 - a)·h and h - a·h differ for an infinite h.
        finite = np.isfinite(want)
        assert_array_equal(np.isfinite(found[name]), finite, err_msg=f"which elements of {name} are finite")
        size = np.abs(want[finite]).max(initial=1)
        assert_allclose(found[name][finite], want[finite], rtol=0, atol=TOLERANCE[str(want.dtype)] * size, err_msg=name)
