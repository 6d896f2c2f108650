"""Products by tile registers (AMX), as sums of products of bfloat16 parts.

Every test runs on the level `amx-emulated`, on any CPU, and on `amx` if the CPU and the system have it.
"""

from __future__ import annotations

import ctypes
import signal
from typing import Any, Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.backends.numpy.conftest import EMULATED, LEVELS, on_level
from tests.backends.numpy.test_bfloat16 import assert_same, results, small_integers
from tests.backends.numpy.test_recurrence import check_same_bits
from tests.layouts import LAYOUTS, lay_out
from tests.reference import Problem, problem, solve_affine
from tests.thin import thin
from xrnn import LSTM, RNN, freeze, get_backend, use_precision
from xrnn.backends.numpy import kernels
from xrnn.info import describe, explain
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import HostArray

WITH_TILES = [*EMULATED, *(level for level in LEVELS if level == "amx")]
# The level that computes float32, and exceptional operands.
WITHOUT_TILES = {"amx": "avx512", "amx-emulated": "baseline"}

# The largest error of h and of the gradients, relative to the largest value, by number of products.
TOLERANCE = {3: 1e-4, 1: 0.02}
# One row, complete tiles, several tiles with rows, units and terms at the edges, and empty sizes.
SIZES = [(1, 1, 1, 1), (3, 16, 32, 32), (2, 49, 35, 65), (9, 37, 1, 20), (2, 3, 0, 5), (0, 2, 3, 4), (3, 0, 4, 5)]


tiles = pytest.fixture(on_level, params=WITH_TILES, autouse=True, name="tiles")


@pytest.mark.parametrize("products", TOLERANCE)
@pytest.mark.parametrize(("order", "lengths"), [("C", None), ("F", "ragged")])
@pytest.mark.parametrize("sizes", SIZES)
def test_integers_are_exact(
    sizes: tuple[int, int, int, int], lengths: str | None, order: Literal["C", "F"], products: int
) -> None:
    """Each factor meets the right one, part by part: otherwise sums of integers would differ from those of float32."""
    p = small_integers(problem("relu", sizes, "float32", lengths=lengths, reverse=lengths is not None))
    assert_same(results(p, products=products, order=order), results(p, products=0, order=order))


def error(got: HostArray, want: HostArray) -> float:
    """The root mean square of the error, relative to that of the values."""
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))


@pytest.mark.parametrize("sizes", [(48, 256, 70), (32, 600, 16), (300, 32, 32)])
def test_three_products_have_a_small_error(sizes: tuple[int, int, int]) -> None:
    p = problems.affine(*sizes, "float32")
    solution = solve_affine(p)
    dW, db = np.empty_like(p.W), np.empty_like(p.b)
    dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, 3)
    for name, got in {"y": kernels.affine(p.x, p.W, p.b, 3), "dx": dx, "dW": dW}.items():
        assert error(got, solution[name]) < 2e-5, name


@pytest.mark.parametrize("products", TOLERANCE)
@pytest.mark.parametrize("sizes", [(1, 9, 70), (3, 300, 33), (2100, 5, 7), (257, 31, 16), (48, 64, 130)])
def test_an_affine_map(sizes: tuple[int, int, int], products: int) -> None:
    p = problems.affine(*sizes, "float32")
    solution = solve_affine(p)

    def run() -> dict[str, HostArray]:
        dW, db = np.full_like(p.W, np.nan), np.full_like(p.b, np.nan)
        dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, products)
        assert kernels.affine_gradients(p.x, p.W, p.dy, dW.copy(), db.copy(), False, products) is None
        return {"y": kernels.affine(p.x, p.W, p.b, products), "dx": dx, "dW": dW, "db": db}

    got = run()
    for name, value in got.items():
        scale = max(1, np.abs(solution[name]).max(initial=0))
        assert_allclose(value, solution[name], rtol=0, atol=TOLERANCE[products] * scale, err_msg=name)
    check_same_bits(run, 0, 11)
    for layout in LAYOUTS:
        W = lay_out(get_backend("numpy"), p.W, layout)
        assert_array_equal(kernels.affine(p.x, W, p.b, products), got["y"])


BITS = [("rnn", (3, 45, 9, 35)), ("rnn", (6, 1, 9, 70)), ("lstm", (7, 18, 40, 50)), ("gru", (2, 3, 65, 150))]


# In `make test` each problem runs with some of the divisions among threads, in .ci/proof with more of them.
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.proof)])
@pytest.mark.parametrize(("of", "lengths"), thin(BITS, [None, "ragged"]))
def test_same_bits_however_divided(of: tuple[str, tuple[int, int, int, int]], lengths: str | None, every: bool) -> None:
    cell, sizes = of
    p = problem(cell, sizes, "float32", lengths=lengths, reverse=lengths is not None)
    for turn, products in enumerate(TOLERANCE):
        order: Any = "CF"[turn % 2]
        check_same_bits(lambda: results(p, products=products, order=order, left_out=False), turn, 3 if every else 17)  # noqa: B023


@pytest.mark.parametrize("cell", ["lstm", "leak by unit"])
def test_any_strides_and_order(cell: str) -> None:
    options: dict[str, Any] = {"sizes": (3, 19, 6, 37), "dtype": "float32", "lengths": "ragged"}
    expected = results(problem(cell, **options), products=3)
    for layout in LAYOUTS[1:]:
        assert_same(results(problem(cell, **options, layouts=[layout] * 8), products=3), expected, str(layout))


# ---- numbers that parts cannot represent ----

EXCEPTIONAL = [np.nan, np.inf, -np.inf, 3.4e38, 1e30, 2.0**50]
PLACES = ("x", "Wx", "Wh", "b", "initial", "dstates")


def with_value(p: Problem, place: str, value: float) -> Problem:
    arrays = {"x": p.x, "Wx": p.weights[0], "Wh": p.weights[1], "b": p.weights[2]}
    array: Any = {**arrays, "initial": p.initial[0], "dstates": p.dstates[0]}[place]
    array.flat[array.size * 2 // 3] = value
    return p


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", EXCEPTIONAL)
@pytest.mark.parametrize("cell", ["relu", "lstm", "gru"])
def test_exceptional_operands_have_the_results_of_float32(cell: str, value: float, place: str) -> None:
    """The same bits: the operation runs without tiles. If x or Wx is exceptional, a backward pass that does not need it
    runs by tiles, so passes that leave out results differ in rounding. A bias is no operand: its results only have NaN
    and infinity in the same places."""
    p = with_value(problem(cell, (2, 18, 5, 20), "float32"), place, value)
    got = results(p, products=3, left_out=False)
    for name, want in results(p, products=0, left_out=False).items():
        if place == "b":
            assert_array_equal(np.isfinite(got[name]), np.isfinite(want))
        elif place == "dstates":  # the forward pass runs by tiles, so the backward pass has other inputs
            scale = np.abs(want, where=np.isfinite(want), out=np.zeros_like(want)).max()
            assert_allclose(got[name], want, rtol=0, atol=3e-4 * max(1, scale), err_msg=name)
        else:
            assert_array_equal(got[name], want, err_msg=name)


def test_every_nan_stays_a_nan_in_bfloat16() -> None:
    """Cutting off the lower half would make the first two infinite, rounding up would make the others zero."""
    nans = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], "uint32").view("float32")
    ones, none = np.ones((1, 1), "float32"), np.zeros(4, "float32")
    assert np.isnan(kernels.affine(nans[:, None], ones, none[:1], 1)).all()
    assert np.isnan(kernels.affine(ones, nans[None], none, 1)).all()


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
@pytest.mark.parametrize("operand", ["x", "W", "dy"])
@pytest.mark.parametrize("value", EXCEPTIONAL)
def test_exceptional_operands_of_an_affine_map(value: float, operand: str) -> None:
    p = problems.affine(40, 33, 18, "float32")
    getattr(p, operand).flat[100] = value

    def run(products: int) -> list[HostArray]:
        dW, db = np.empty_like(p.W), np.empty_like(p.b)
        dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, products)
        return [kernels.affine(p.x, p.W, p.b, products), dx, dW, db]

    y, *gradients = run(3)
    y_in_float32, *gradients_in_float32 = run(0)
    if operand != "dy":
        assert_array_equal(y, y_in_float32)
    for got, want in zip(gradients, gradients_in_float32, strict=True):
        assert_array_equal(got, want)


@pytest.mark.parametrize(("cell", "H"), thin(["lstm", "gru"], [5, 40, 48]))
def test_nan_in_the_scratch_memory_is_not_read(cell: str, H: int) -> None:
    """Blocks are filled up with zeros."""
    p = problem(cell, (70, 18, 5, H), "float32")
    W = np.full((700, 700), np.nan, "float32", "F")
    for products in TOLERANCE:
        expected = results(p, products=products)
        kernels.affine(np.ones((64, 700), "f4"), W, W[0].copy(), 0)  # packs W
        assert_same(results(p, products=products), expected)


def test_relu_that_grows_beyond_the_parts() -> None:
    """h becomes exceptional within the sequence."""
    p = problem("relu", (40, 17, 5, 20), "float32")
    np.fill_diagonal(p.weights[1], 3)
    expected = results(p, products=0)
    assert np.abs(expected["state 0"]).max() > 2.0**50
    assert_same(results(p, products=3), expected)


@pytest.mark.parametrize("size", [1e-10, 1e-20, 1e-30])
def test_small_operands_keep_their_relative_error(size: float) -> None:
    p = problems.affine(48, 64, 32, "float32")
    p.x *= np.float32(size)
    p.b[:] = 0
    exact = p.x.astype("float64") @ p.W.astype("float64")
    assert error(kernels.affine(p.x, p.W, p.b, 3), exact) < 2e-5


@pytest.mark.parametrize(("of_x", "of_W", "largest"), [(1e-38, 1, 1e-36), (1e-42, 1, 0), (1e-20, 1e-20, 0)])
def test_subnormal_operands_and_sums_count_as_zero(of_x: float, of_W: float, largest: float) -> None:
    p = problems.affine(48, 64, 32, "float32")
    p.x *= np.float32(of_x)
    p.W *= np.float32(of_W)
    p.b[:] = 0
    assert abs(kernels.affine(p.x, p.W, p.b, 3)).max() <= largest


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
def test_frozen_weights_that_parts_cannot_represent() -> None:
    layer = LSTM.init(5, 20, rng=0)
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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
def test_a_signal_handler_may_use_tiles_during_a_call() -> None:
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


# ---- when tiles are used ----


def test_the_rule() -> None:
    for products, fewest in ((3, 8), (1, 4)):  # with fewer rows, most rows of the tiles would be empty
        assert kernels.repays_tiles(products, 50, 64, 512, 1024)
        assert kernels.repays_tiles(products, 50, fewest, 512, 1024)
        assert not kernels.repays_tiles(products, 50, fewest - 1, 512, 1024)
        assert not kernels.repays_tiles(products, 1, 64, 512, 1024)  # the weights would be split for one step
        assert kernels.repays_tiles(products, 1, 128, 512, 1024)
        assert not kernels.repays_tiles(products, 50, 64, 64, 64)


@pytest.mark.parametrize(("sizes", "uses"), [((19, 7, 64, 256), False), ((4, 32, 64, 256), True)])
def test_small_sizes_do_not_use_tiles(sizes: tuple[int, int, int, int], uses: bool) -> None:
    kernels.force_products(False)
    p = problem("rnn", sizes, "float32")
    assert np.any(results(p, products=3)["state 0"] != results(p, products=0)["state 0"]) == uses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float32_and_float64_have_the_bits_of_the_level_without_tiles(tiles: str, dtype: str) -> None:
    p = problem("lstm", (4, 17, 7, 20), dtype)
    got = [results(p, products=products) for products in ((0,) if dtype == "float32" else (0, *TOLERANCE))]
    kernels.set_level(WITHOUT_TILES[tiles])
    for of_level in got:
        assert_same(of_level, results(p, products=0))


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
        assert why(precision, operation="affine_forward").endswith(
            f", products {kind} by {tiles}, small ones in float32"
        )
    assert "products" not in why("float32")
    facts = describe(backend)["products in bfloat16"]
    assert facts == f"{tiles}, also in bfloat16x3 (layers with several heads: float32)"


@pytest.mark.skipif("amx" not in WITH_TILES, reason="this machine has no AMX, or its system refuses it")
@pytest.mark.parametrize("products", TOLERANCE)
def test_the_instructions_have_the_bits_of_the_emulation(products: int) -> None:
    p = problems.affine(300, 100, 70, "float32")

    def run(level: str) -> list[HostArray]:
        kernels.set_level(level)
        dW, db = np.empty_like(p.W), np.empty_like(p.b)
        dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, products)
        return [kernels.affine(p.x, p.W, p.b, products), dx, dW, db]

    for got, want in zip(run("amx"), run("amx-emulated"), strict=True):
        assert_array_equal(got, want)
