"""Products in bfloat16: the packing is exact, every division among threads gives the same bits, and what is rounded.

Without the instructions on this CPU, only the emulated kernels of .ci/sanitize run these products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.backends.numpy.test_levels import has_reduced_products
from tests.backends.numpy.test_recurrence import (
    BITS_PROBLEMS,
    FUSED_CELLS,
    PRODUCT_SIZES,
    SIZES,
    check_same_bits,
    poisoned,
)
from tests.layouts import LAYOUTS, lay_out
from tests.ops.test_recurrence import Run
from tests.reference import Problem, problem
from tests.thin import thin
from xrnn import get_backend, use_fused, use_precision
from xrnn.backends.numpy import kernels
from xrnn.ops.inputs import Inputs, Trace
from xrnn.typing import HostArray

CLOSE = 0.02  # two factors with a relative error of 2⁻⁹ each, over some steps


@pytest.fixture(autouse=True)
def _in_bfloat16(_built: None) -> Iterator[None]:
    get_backend("numpy")  # chooses the level
    if not kernels.products_by(1):
        pytest.skip("this machine has no fast avx512_bf16: .ci/sanitize runs the kernels with emulated instructions")
    kernels.force_products(True)
    yield
    kernels.force_products(False)


def results(
    p: Problem, *, products: int = 1, order: Literal["C", "F"] = "C", left_out: bool = True
) -> dict[str, HostArray]:
    """All results of both passes; the gradients are written over NaN. Passes that leave out gradients have the same
    bits (`left_out`: check this)."""
    backend = get_backend("numpy")
    layer = p.layer(backend)
    x, initial, dstates = p.operands(backend)
    Wx, Wh, b, *params = layer.params
    cell: Any = layer.cell
    name, own = cell.kernel_name, cell.coefficients(np, params)
    lengths = None if p.lengths is None else p.lengths.astype(np.int64)
    states, z, _ = kernels.forward(name, x, Wx, Wh, b, tuple(initial), lengths, p.reverse, own, True, products, None)
    inferred, _, _ = kernels.forward(name, x, Wx, Wh, b, tuple(initial), lengths, p.reverse, own, False, products, None)
    for got, want in zip(inferred, states, strict=True):
        assert_array_equal(got, want)

    def backward(with_weights: bool, needs_dx: bool) -> tuple[Any, Any, Any]:
        grads: Any = poisoned(p, order) if with_weights else [None] * 3
        dWx, dWh, db, *d_own = grads
        dx, dinitial = kernels.backward(
            name, x, Wx, Wh, states, z, lengths, p.reverse, own, dstates, dWx, dWh, db, d_own or None, needs_dx,
            products,
        )  # fmt: skip
        return dx, dinitial, grads

    dx, dinitial, grads = backward(True, True)
    if left_out:
        for got, want in zip(backward(True, False)[2], grads, strict=True):
            assert_array_equal(got, want)
        assert_array_equal(backward(False, True)[0], dx)
    return {
        **{f"state {k}": state for k, state in enumerate(states)},
        **{"dx": dx, **dict(zip((f"d{name}" for name in p.weight_names), grads, strict=True))},
        **{f"dinitial {k}": d for k, d in enumerate(dinitial)},
    }


def small_integers(p: Problem) -> Problem:
    """The problem with integers that bfloat16 holds exactly, as it does all products and sums: relu keeps integers."""

    def rounded(a: Any, most: int) -> HostArray:
        integers: HostArray = np.clip(np.round(a * 2), -most, most)
        return integers

    def sparse(W: HostArray) -> HostArray:  # one weight a column, so that h stays below 256
        kept = np.zeros_like(W)
        for column in range(W.shape[1] if len(W) else 0):
            row = (7 * column + 3) % len(W)
            kept[row, column] = 1 if column % 3 else -1
        return kept

    Wx, Wh, b = p.weights
    return replace(
        p,
        x=rounded(p.x, 3),
        weights=[sparse(Wx), sparse(Wh), rounded(b, 2)],
        initial=[rounded(s, 2) for s in p.initial],
        dstates=[rounded(d, 2) for d in p.dstates],
    )


def assert_same(got: dict[str, HostArray], expected: dict[str, HostArray], why: str = "") -> None:
    for key, value in expected.items():
        assert_array_equal(got[key], value, err_msg=f"{key} {why}")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("lengths", [None, "ragged"])
@pytest.mark.parametrize("sizes", [s for s in SIZES if s[0] < 50])
def test_integers_are_exact(sizes: tuple[int, int, int, int], lengths: str | None, order: Literal["C", "F"]) -> None:
    """Each factor meets the right one: otherwise sums of integers would differ from those of float32."""
    p = small_integers(problem("relu", sizes, "float32", lengths=lengths, reverse=lengths is not None))
    assert_same(results(p, order=order), results(p, products=0, order=order))


@pytest.mark.parametrize("sizes", [*PRODUCT_SIZES, (2100, 5, 7), (257, 31, 16)])
def test_integers_are_exact_in_an_affine_map(sizes: tuple[int, int, int]) -> None:
    p = problems.affine(*sizes, "float32")
    x, W, b, dy = (np.round(a * 4) for a in (p.x, p.W, p.b, p.dy))

    def run(products: int, W: HostArray) -> list[HostArray]:
        dW, db = np.full_like(p.W, np.nan), np.full_like(p.b, np.nan)
        dx = kernels.affine_gradients(x, W, dy, dW, db, True, products)
        assert kernels.affine_gradients(x, W, dy, dW, db, False, products) is None
        return [kernels.affine(x, W, b, products), dx, dW, db]

    for layout in LAYOUTS:
        for got, want in zip(run(1, lay_out(get_backend("numpy"), W, layout)), run(0, W), strict=True):
            assert_array_equal(got, want, err_msg=layout)


@pytest.mark.parametrize("sizes", [(1, 7, 33, 52), (1, 1, 64, 128), (1, 30, 5, 16)])
@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_the_factors_are_rounded_and_nothing_else(cell: str, sizes: tuple[int, int, int, int]) -> None:
    """One step on operands that bfloat16 holds is as exact as in float32; h and dz stay unrounded in the results."""
    p = problem(cell, sizes, "float32")
    x, (Wx, Wh), initial = rounded(p.x), map(rounded, p.weights[:2]), [rounded(s) for s in p.initial]
    p = replace(p, x=x, weights=[Wx, Wh, *p.weights[2:]], initial=initial)
    got, expected = results(p), results(p, products=0)
    if not has_reduced_products(p, "bfloat16"):
        assert_same(got, expected)
        return
    for key in [k for k in expected if k.startswith("state")] + ["db"]:
        assert_allclose(got[key], expected[key], rtol=0, atol=1e-6 * max(1, np.abs(expected[key]).max()), err_msg=key)
    for key in ("dx", "dWx", "dWh")[: 3 if Wh.size else 2]:  # dz is rounded
        assert np.abs(got[key] - expected[key]).max() > 1e-6, key


def rounded(a: HostArray) -> HostArray:
    """To bfloat16, ties to even."""
    bits = np.ascontiguousarray(a).view(np.uint32)
    nearest = bits + 0x7FFF + (bits >> 16 & 1)
    return (nearest & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_rounding() -> None:
    """Ties to even, NaN and infinity kept, subnormals become zero; as a factor of x and as one of W."""
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.3e38, 1e-40, np.inf, np.nan, 1.2345678], "f4")
    expected = np.array([1, 1 + 2**-6, -1, 3.3e38, 0, np.inf, np.nan, 1.234375], "f4")
    expected[3] = rounded(values[3:4])[0]
    ones, none = np.ones((1, 1), "f4"), np.zeros(1, "f4")
    assert_array_equal(kernels.affine(values[:, None], ones, none, 1)[:, 0], expected)
    assert_array_equal(kernels.affine(ones, values[None], np.zeros(8, "f4"), 1)[0], expected)


@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_nan_stays_in_its_row(cell: str) -> None:
    p = problem(cell, (4, 5, 7, 19), "float32")
    clean = results(p)["state 0"]
    p.x[2, 3, 1] = np.nan
    h = results(p)["state 0"]
    if cell != "relu":
        assert np.isnan(h[3:, 3]).all()
    assert np.isnan(h[3, 3]).all()
    h[3:, 3] = clean[3:, 3]
    assert_array_equal(h, clean)


@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_any_strides_and_order(cell: str) -> None:
    options: dict[str, Any] = {"sizes": (5, 3, 6, 21), "dtype": "float32", "lengths": "ragged"}
    expected = results(problem(cell, **options))
    for layout in LAYOUTS[1:]:
        assert_same(results(problem(cell, **options, layouts=[layout] * 8)), expected, str(layout))


BITS_CELLS = ["rnn", "lstm", "gru", "leak", "lstm heads", "gru heads"]


@pytest.mark.parametrize(("cell", "turn"), thin(BITS_CELLS, range(len(BITS_PROBLEMS))))
def test_same_bits_however_divided(cell: str, turn: int) -> None:
    sizes, lengths = BITS_PROBLEMS[turn]
    p = problem(cell, sizes, "float32", lengths=lengths, reverse=lengths is not None)
    check_same_bits(lambda: results(p, order="CF"[turn % 2], left_out=False), turn, 11)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [*PRODUCT_SIZES, (2100, 5, 7)])
def test_an_affine_map_has_the_same_bits_however_divided(sizes: tuple[int, int, int]) -> None:
    p = problems.affine(*sizes, "float32")

    def run() -> dict[str, HostArray]:
        dW, db = np.full_like(p.W, np.nan), np.full_like(p.b, np.nan)
        dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, 1)
        return {"y": kernels.affine(p.x, p.W, p.b, 1), "dx": dx, "dW": dW, "db": db}

    check_same_bits(run, 0, 5)


def test_float64_and_other_levels_are_not_affected() -> None:
    before = kernels.level()
    for dtype, level in (("float64", before), ("float32", "avx2")):
        p = problem("gru", (4, 5, 7, 19), dtype)
        kernels.set_level(level)
        try:
            assert (kernels.products_by(1) is None) == (level == "avx2")
            assert_same(results(p), results(p, products=0))
        finally:
            kernels.set_level(before)


def test_the_setting_reaches_every_kernel() -> None:
    p, q = problem("lstm", (5, 6, 7, 19), "float32"), problems.affine(9, 7, 5, "float32")
    backend = get_backend("numpy")
    layer, (x, initial, dstates) = p.layer(backend), p.operands(backend)
    Wx, Wh, b = layer.params
    inputs = Inputs(x, Wx, Wh, b, tuple(initial))
    dW, db = np.zeros_like(q.W), np.zeros_like(q.b)
    with use_precision("bfloat16"):
        trace = Trace(inputs, *backend.recurrence_forward(layer.cell, inputs, True))
        dx, _ = backend.recurrence_backward(layer.cell, trace, dstates, layer.grads)
        y = backend.affine_forward(q.x, q.W, q.b)
        dx_of_map = backend.affine_backward(q.x, q.W, q.dy, dW, db)
    expected = results(p)
    assert_array_equal(trace.states[0], expected["state 0"])
    assert_array_equal(dx, expected["dx"])
    assert_array_equal(layer.grads[0], expected["dWx"])
    assert_array_equal(y, kernels.affine(q.x, q.W, q.b, 1))
    assert_array_equal(dx_of_map, kernels.affine_gradients(q.x, q.W, q.dy, dW, db, True, 1))
    assert np.any(y != kernels.affine(q.x, q.W, q.b, 0))


def test_small_sizes_stay_in_float32() -> None:
    kernels.force_products(False)
    small, large = (problem("rnn", sizes, "float32") for sizes in ((1, 1, 16, 16), (20, 64, 64, 256)))
    assert_same(results(small), results(small, products=0))
    assert np.any(results(large)["state 0"] != results(large, products=0)["state 0"])
    for T, N, K, H in ((1, 1, 2048, 4096), (50, 16, 32, 16)):
        assert not kernels.repays_bfloat16(T, N, K, H)
    assert kernels.repays_bfloat16(50, 16, 512, 1024)


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((1, 1, 1, 1), {}),
        ((1, 5, 3, 33), {}),
        ((6, 1, 18, 40), {"reverse": True}),
        ((5, 9, 7, 35), {"lengths": "ragged"}),
        ((3, 20, 33, 64), {"lengths": "ragged", "reverse": True}),
    ],
)
@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_the_kernels_agree_with_the_plain_form(cell: str, sizes: tuple[int, int, int, int], options: Any) -> None:
    """Both round the same factors. A sum in another order may change the rounding of a later factor, so single elements
    differ by more than float32's error. On average they differ by far less than either differs from float32."""
    p = problem(cell, sizes, "float32", **options)
    run = Run(p, get_backend("numpy"))

    def results_of(fused: bool, precision: Any) -> HostArray:
        with use_fused(fused), use_precision(precision):
            trace = run.forward()
            arrays = [*run.results(trace), *run.backward(trace).values()]
        return np.concatenate([array.ravel() / max(1, abs(array).max(initial=0)) for array in arrays])

    plain = results_of(False, "bfloat16" if has_reduced_products(p, "bfloat16") else "float32")
    fused = results_of(True, "bfloat16")
    rounding = np.sqrt(np.mean((plain - results_of(False, "float32")) ** 2))
    assert_allclose(fused, plain, rtol=0, atol=CLOSE)
    assert np.sqrt(np.mean((fused - plain) ** 2)) < max(0.3 * rounding, 1e-6)
