"""Products of bfloat16 factors: by pairs (avx512_bf16), and by tile registers (AMX), also three products of parts.

Tiles run on the level `amx-emulated`, on any CPU, and pairs on `pairs-emulated` if the CPU has no fast avx512_bf16.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.backends.numpy import test_recurrence as recurrence
from tests.backends.numpy.conftest import EMULATED, LEVELS, PAIRS
from tests.backends.numpy.test_levels import has_reduced_products
from tests.backends.numpy.test_recurrence import BITS_PROBLEMS, FUSED_CELLS, check_same_bits
from tests.combinations import thin
from tests.layouts import LAYOUTS, lay_out
from tests.reference import Problem, problem, solve_affine
from xrnn import LSTM, RNN, freeze, get_backend, use_precision
from xrnn.backends.numpy import kernels
from xrnn.info import describe, explain
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import HostArray

TILES = [*EMULATED, *(level for level in LEVELS if level == "amx")]
# The level that computes float32, and exceptional operands.
WITHOUT_TILES = {"amx": "avx512"}
# The largest error of h and of the gradients, relative to the largest value, by number of products.
TOLERANCE = {3: 1e-4, 1: 0.02}
PRECISIONS: dict[int, Any] = {0: "float32", 1: "bfloat16", 3: "bfloat16x3"}
WAYS = [*((level, 1) for level in (*PAIRS, *TILES)), *((level, 3) for level in TILES)]


@contextmanager
def on(level: str) -> Iterator[None]:
    """In every size, this level takes products of bfloat16 factors."""
    before = kernels.level()
    try:
        kernels.set_level(level)
        kernels.force_products(True)
        yield
    finally:
        kernels.force_products(False)
        kernels.set_level(before)


@pytest.fixture(params=WAYS, ids=str)
def products(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of products, on each level that has them."""
    level, number = request.param
    with on(level):
        yield number


@pytest.fixture(params=PAIRS)
def pairs(request: pytest.FixtureRequest) -> Iterator[None]:
    with on(request.param):
        yield


@pytest.fixture(params=TILES)
def tiles(request: pytest.FixtureRequest) -> Iterator[str]:
    with on(request.param):
        yield request.param


def results(
    p: Problem, *, products: int = 1, order: Literal["C", "F"] = "C", left_out: bool = True
) -> dict[str, HostArray]:
    """All results of both passes, as `test_recurrence.results`, with this number of products for one of float32."""
    with use_precision(PRECISIONS[products]):
        return recurrence.results(p, order, left_out=left_out)


def affine(p: problems.Affine, products: int, layout: str = "C") -> dict[str, HostArray]:
    """y and the gradients, which are written over NaN."""
    W = lay_out(get_backend("numpy"), p.W, layout)
    dW, db = np.full_like(p.W, np.nan), np.full_like(p.b, np.nan)
    dx = kernels.affine_gradients(p.x, W, p.dy, dW, db, True, products)
    assert kernels.affine_gradients(p.x, W, p.dy, dW.copy(), db.copy(), False, products) is None
    return {"y": kernels.affine(p.x, W, p.b, products), "dx": dx, "dW": dW, "db": db}


def assert_same(got: dict[str, HostArray], expected: dict[str, HostArray], why: str = "") -> None:
    for key, value in expected.items():
        assert_array_equal(got[key], value, err_msg=f"{key} {why}")


def error(got: HostArray, want: HostArray) -> float:
    """The root mean square of the error, relative to that of the values."""
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))


# ---- each factor meets the right one ----


def small_integers(p: Problem) -> Problem:
    """The problem with integers that bfloat16 holds exactly, as it does all products and sums: relu keeps integers."""

    def rounded(a: Any, most: int) -> HostArray:
        return np.clip(np.round(a * 2), -most, most)

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
        add=rounded(p.add, 1),
    )


# One row, complete tiles, several tiles with rows, units and terms at the edges, several chunks, and empty sizes.
SIZES = [
    *((1, 1, 1, 1), (3, 16, 32, 32), (2, 49, 35, 65), (9, 37, 1, 20), (5, 1, 16, 64), (20, 18, 3, 11)),
    *((2, 5, 400, 450), (2, 3, 0, 5), (0, 2, 3, 4), (3, 0, 4, 5)),
]


@pytest.mark.parametrize(("order", "lengths"), [("C", None), ("F", "ragged")])
@pytest.mark.parametrize("sizes", SIZES)
def test_integers_are_exact(
    products: int, sizes: tuple[int, int, int, int], lengths: str | None, order: Literal["C", "F"]
) -> None:
    """If a factor met a wrong one, sums of integers would differ from those of float32."""
    p = small_integers(problem("relu", sizes, "float32", lengths=lengths, reverse=lengths is not None, add=True))
    assert_same(results(p, products=products, order=order), results(p, products=0, order=order))


@pytest.mark.parametrize("sizes", [(1, 9, 70), (3, 300, 33), (2100, 5, 7), (257, 31, 16), (48, 64, 130)])
def test_an_affine_map(products: int, sizes: tuple[int, int, int]) -> None:
    p = problems.affine(*sizes, "float32")
    integers = problems.Affine(*(np.round(a * 4) for a in (p.x, p.W, p.b, p.dy)))
    for layout in LAYOUTS:
        assert_same(affine(integers, products, layout), affine(integers, 0), layout)
    solution, got = solve_affine(p), check_same_bits(lambda: affine(p, products), 0, 11)
    for name, value in got.items():
        scale = max(1, np.abs(solution[name]).max(initial=0))
        assert_allclose(value, solution[name], rtol=0, atol=TOLERANCE[products] * scale, err_msg=name)


@pytest.mark.parametrize("size", [1, 1e-10, 1e-20, 1e-30])
@pytest.mark.parametrize("sizes", [(48, 256, 70), (32, 600, 16), (300, 32, 32)])
def test_three_products_have_a_small_relative_error(tiles: str, sizes: tuple[int, int, int], size: float) -> None:
    p = problems.affine(*sizes, "float32")
    p.x *= np.float32(size)
    p.b[:] = 0
    got, solution = affine(p, 3), solve_affine(p)
    for name in ("y", "dx", "dW"):
        assert error(got[name], solution[name]) < 2e-5, name


@pytest.mark.parametrize("sizes", [(1, 7, 33, 52), (1, 1, 64, 128), (1, 30, 5, 16)])
@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_the_factors_are_rounded_and_nothing_else(pairs: None, cell: str, sizes: tuple[int, int, int, int]) -> None:
    """One step on operands that bfloat16 holds is as exact as in float32: add, h and dz are not rounded."""
    p = problem(cell, sizes, "float32", add=True)
    x, (Wx, Wh), initial = rounded(p.x), map(rounded, p.weights[:2]), [rounded(s) for s in p.initial]
    p = replace(p, x=x, weights=[Wx, Wh, *p.weights[2:]], initial=initial)
    got, expected = results(p), results(p, products=0)
    if not has_reduced_products(p, "bfloat16"):
        assert_same(got, expected)
        return
    for key in [*p.case.states, "db", "dadd"]:
        assert_allclose(got[key], expected[key], rtol=0, atol=1e-6 * max(1, np.abs(expected[key]).max()), err_msg=key)
    for key in ("dx", "dWx", "dWh")[: 3 if Wh.size else 2]:  # dz is rounded
        assert np.abs(got[key] - expected[key]).max() > 1e-6, key


def rounded(a: HostArray) -> HostArray:
    """To bfloat16, ties to even."""
    bits = np.ascontiguousarray(a).view(np.uint32)
    nearest = bits + 0x7FFF + (bits >> 16 & 1)
    return (nearest & 0xFFFF0000).astype(np.uint32).view(np.float32)


BITS_CELLS = ["rnn", "lstm", "gru", "leak", "lstm heads", "gru heads"]


@pytest.mark.parametrize(("cell", "turn"), thin(BITS_CELLS, range(len(BITS_PROBLEMS))))
def test_same_bits_however_divided(products: int, cell: str, turn: int) -> None:
    sizes, lengths = BITS_PROBLEMS[turn]
    if kernels.level() in TILES and ("heads" in cell or np.prod(sizes) > 3e5 or products != (1, 3)[turn // 2 % 2]):
        return  # tiles take no heads, and emulated ones are slow: each problem takes one number of products
    p = problem(cell, sizes, "float32", lengths=lengths, reverse=lengths is not None)
    order: Any = "CF"[turn % 2]
    check_same_bits(lambda: results(p, products=products, order=order, left_out=False), turn, 11)


@pytest.mark.skipif("amx" not in TILES, reason="this machine has no AMX, or its system refuses it")
@pytest.mark.parametrize("number", TOLERANCE)
def test_the_instructions_have_the_bits_of_the_emulation(number: int) -> None:
    p, found = problems.affine(300, 100, 70, "float32"), []
    for level in ("amx", "amx-emulated"):
        with on(level):
            found.append(affine(p, number))
    assert_same(found[0], found[1])


# ---- numbers that bfloat16, or its parts, cannot represent ----


def test_rounding_of_a_factor(products: int) -> None:
    """Ties to even, infinity kept, subnormals become zero. A NaN whose upper half is that of infinity, or all ones,
    stays a NaN."""
    if products > 1:
        return
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.3e38, 1e-40, np.inf, np.nan, 1.2345678], "f4")
    expected = np.array([1, 1 + 2**-6, -1, 3.3e38, 0, np.inf, np.nan, 1.234375], "f4")
    expected[3] = rounded(values[3:4])[0]
    nans = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], "uint32").view("float32")
    values, expected = np.concatenate([values, nans]), np.concatenate([expected, nans])
    ones, none = np.ones((1, 1), "f4"), np.zeros(len(values), "f4")
    assert_array_equal(kernels.affine(values[:, None], ones, none[:1], 1)[:, 0], expected)
    assert_array_equal(kernels.affine(ones, values[None], none, 1)[0], expected)


@pytest.mark.parametrize(("of_x", "of_W", "largest"), [(1e-38, 1, 1e-36), (1e-42, 1, 0), (1e-20, 1e-20, 0)])
def test_subnormal_operands_and_sums_count_as_zero(tiles: str, of_x: float, of_W: float, largest: float) -> None:
    p = problems.affine(48, 64, 32, "float32")
    p.x *= np.float32(of_x)
    p.W *= np.float32(of_W)
    p.b[:] = 0
    assert abs(kernels.affine(p.x, p.W, p.b, 3)).max() <= largest


@pytest.mark.parametrize("cell", FUSED_CELLS)
def test_nan_stays_in_its_row(pairs: None, cell: str) -> None:
    p = problem(cell, (4, 5, 7, 19), "float32")
    clean = results(p)["h"]
    p.x[2, 3, 1] = np.nan
    h = results(p)["h"].copy()
    assert np.isnan(h[2 : 3 if cell == "relu" else None, 3]).all()
    h[2:, 3] = clean[2:, 3]
    assert_array_equal(h, clean)


EXCEPTIONAL = [np.nan, np.inf, -np.inf, 3.4e38, 1e30, 2.0**50]
exceptional = pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")


@exceptional
@pytest.mark.parametrize("place", ["x", "Wx", "Wh", "b", "initial", "dstates"])
@pytest.mark.parametrize("value", EXCEPTIONAL)
@pytest.mark.parametrize("cell", ["relu", "lstm", "gru"])
def test_exceptional_operands_have_the_results_of_float32(tiles: str, cell: str, value: float, place: str) -> None:
    """The same bits: the operation runs without tiles. If x or Wx is exceptional, a backward pass that does not need it
    runs by tiles, so passes that leave out results differ in rounding. A bias is no operand: its results only have NaN
    and infinity in the same places."""
    p = problem(cell, (2, 18, 5, 20), "float32")
    arrays = {**dict(zip(("Wx", "Wh", "b"), p.weights, strict=True)), "x": p.x, "initial": p.initial[0]}
    array: Any = {**arrays, "dstates": p.dstates[0]}[place]
    array.flat[array.size * 2 // 3] = value
    got = results(p, products=3, left_out=False)
    for name, want in results(p, products=0, left_out=False).items():
        if place == "b":
            assert_array_equal(np.isfinite(got[name]), np.isfinite(want))
        elif place == "dstates":  # the forward pass runs by tiles, so the backward pass has other inputs
            scale = np.abs(want, where=np.isfinite(want), out=np.zeros_like(want)).max()
            assert_allclose(got[name], want, rtol=0, atol=3e-4 * max(1, scale), err_msg=name)
        else:
            assert_array_equal(got[name], want, err_msg=name)


@exceptional
@pytest.mark.parametrize("operand", ["x", "W", "dy"])
@pytest.mark.parametrize("value", EXCEPTIONAL)
def test_exceptional_operands_of_an_affine_map(tiles: str, value: float, operand: str) -> None:
    p = problems.affine(40, 33, 18, "float32")
    getattr(p, operand).flat[100] = value
    got, expected = affine(p, 3), affine(p, 0)
    if operand == "dy":
        del expected["y"]
    assert_same(got, expected)


@exceptional
def test_frozen_weights_that_parts_cannot_represent(tiles: str) -> None:
    layer = LSTM.init(5, 20, rng=0, backend="numpy")
    layer.params[0][3, 7] = 1e20
    frozen, x = freeze(layer), np.random.default_rng(0).standard_normal((3, 18, 5)).astype("float32")
    expected = layer(x)
    with use_precision("bfloat16x3"):
        for _ in range(3):  # the first call finds out, the second one packs
            for got, want in zip(frozen(x), expected, strict=True):
                assert_array_equal(got, want)
        for param in (frozen.Wx, frozen.Wh):
            ctypes.memset(param.ctypes.data, 0, param.nbytes)  # only the packed weights are left
        for got, want in zip(frozen(x), expected, strict=True):
            assert_array_equal(got, want)


def test_relu_that_grows_beyond_the_parts(tiles: str) -> None:
    """h becomes exceptional within the sequence."""
    p = problem("relu", (40, 17, 5, 20), "float32")
    np.fill_diagonal(p.weights[1], 3)
    expected = results(p, products=0)
    assert np.abs(expected["h"]).max() > 2.0**50
    assert_same(results(p, products=3), expected)


@pytest.mark.parametrize(("cell", "H"), thin(["lstm", "gru"], [5, 40, 48]))
def test_nan_in_the_scratch_memory_is_not_read(tiles: str, cell: str, H: int) -> None:
    """Blocks are filled up with zeros."""
    p = problem(cell, (70, 18, 5, H), "float32")
    W = np.full((700, 700), np.nan, "float32", "F")
    for number in TOLERANCE:
        expected = results(p, products=number)
        kernels.affine(np.ones((64, 700), "f4"), W, W[0].copy(), 0)  # packs W
        assert_same(results(p, products=number), expected)


# ---- when they are used ----


def test_float64_and_levels_without_such_products_do_not_change(products: int) -> None:
    level = kernels.level()
    p, q = (problem("gru", (4, 17, 7, 20), dtype) for dtype in ("float32", "float64"))
    in_float32, in_float64 = results(p, products=0), results(q, products=products)
    kernels.set_level(WITHOUT_TILES.get(level, "baseline"))
    if level in TILES:  # the bits of the level below
        assert_same(in_float32, results(p, products=0))
        assert_same(in_float64, results(q, products=0))
    else:
        assert kernels.products_by(1) is None
        assert_same(results(p, products=products), results(p, products=0))


def test_the_rules() -> None:
    for products, fewest in ((3, 8), (1, 4)):  # with fewer rows, most rows of the tiles would be empty
        assert kernels.repays_tiles(products, 50, 64, 512, 1024)
        assert kernels.repays_tiles(products, 50, fewest, 512, 1024)
        assert not kernels.repays_tiles(products, 50, fewest - 1, 512, 1024)
        assert not kernels.repays_tiles(products, 1, 64, 512, 1024)  # the weights would be split for one step
        assert kernels.repays_tiles(products, 1, 128, 512, 1024)
        assert not kernels.repays_tiles(products, 50, 64, 64, 64)
    for T, N, K, H in ((1, 1, 2048, 4096), (50, 16, 32, 16)):
        assert not kernels.repays_bfloat16(T, N, K, H)
    assert kernels.repays_bfloat16(50, 16, 512, 1024)


@pytest.mark.parametrize(("sizes", "uses"), [((1, 1, 16, 16), False), ((4, 64, 64, 256), True)])
def test_small_sizes_stay_in_float32(products: int, sizes: tuple[int, int, int, int], uses: bool) -> None:
    kernels.force_products(False)
    p = problem("rnn", sizes, "float32")
    assert np.any(results(p, products=products)["h"] != results(p, products=0)["h"]) == uses


def test_explain(tiles: str) -> None:
    kernels.force_products(False)
    backend = get_backend("numpy")

    def why(precision: Any, N: int = 64, operation: Any = "recurrence_forward", heads: int = 1) -> str:
        sizes = {"T": 50, "N": N, "D": 256, "H": 256, "heads": heads}
        with use_precision(precision):
            return explain(backend, operation, LSTMCell(), sizes, "float32").why

    for precision, kind in {"bfloat16x3": "as three of bfloat16 parts", "bfloat16": "in bfloat16"}.items():
        assert why(precision).endswith(f", products {kind} by {tiles}")
        assert why(precision, heads=2).endswith(", products in float32: it has heads")
        assert why(precision, 1).endswith(", products in float32: too few rows, or too small")
        of_map = why(precision, operation="affine_forward")
        assert of_map.endswith(f", products {kind} by {tiles}, small ones in float32")
    assert "products" not in why("float32")
    facts = describe(backend)["products in bfloat16"]
    assert facts == f"{tiles}, also in bfloat16x3 (layers with several heads: float32)"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
def test_a_signal_handler_may_use_tiles_during_a_call(tiles: str) -> None:
    """The registers are configured again after it. An exceptional operand of one call does not count for the other.

    A call polls for signals every 50 ms, so the sequence grows until one call was interrupted twice. A handler that ran
    once may have run after the call.
    """
    brief = problems.affine(40, 33, 18, "float32")
    brief.x[0, 0] = 1e30
    rng, H = np.random.default_rng(0), 2048
    layer = RNN(*(rng.standard_normal(shape, "float32") / 50 for shape in ((40, H), (H, H), H)))
    seen: list[bool] = []

    def handler(*_: object) -> None:
        seen.append(np.array_equal(kernels.affine(brief.x, brief.W, brief.b, 3), of_brief))
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    of_brief = kernels.affine(brief.x, brief.W, brief.b, 3)
    before = signal.signal(signal.SIGALRM, handler)
    kernels.force_partition(1, "rows", False)
    try:
        for T in (2 * 4**k for k in range(6)):
            x = rng.standard_normal((T, 16, 40), "float32")
            with use_precision("bfloat16x3"):
                expected = layer(x)
                seen.clear()
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                got = layer(x)
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert_array_equal(got, expected)
            assert all(seen)
            if len(seen) > 1:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        kernels.force_partition(0, "rows", False)
    assert len(seen) > 1
