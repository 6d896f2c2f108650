"""Products by tile registers (AMX), as sums of products of bfloat16 parts.

Every test runs on the level `amx-emulated`, on any CPU, and on `amx` if the CPU and the system have it.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.backends.numpy import test_recurrence
from tests.backends.numpy.conftest import EMULATED, LEVELS, on_level
from tests.backends.numpy.test_bfloat16 import assert_same, results, small_integers
from tests.backends.numpy.test_recurrence import FUSED_CELLS, check_same_bits
from tests.layouts import LAYOUTS, lay_out
from tests.reference import Problem, problem, solve_affine
from tests.thin import thin
from xrnn import LSTM, freeze, get_backend, use_precision
from xrnn.backends.numpy import kernels
from xrnn.info import explain
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import HostArray

WITH_TILES = [*EMULATED, *(level for level in LEVELS if level == "amx")]
WITHOUT_TILES = {"amx": "avx512", "amx-emulated": "baseline"}  # the level that computes exceptional operands

# The largest error of h and of the gradients, relative to the largest value, by number of products.
TOLERANCE = {6: 6e-5, 3: 1e-4, 1: 0.02}
PRECISION: dict[int, Any] = {6: "float32", 3: "bfloat16x3", 1: "bfloat16"}
# One row, complete tiles, several tiles with rows, units and terms at the edges, and empty sizes.
SIZES = [(1, 1, 1, 1), (3, 16, 32, 32), (2, 49, 35, 65), (9, 37, 1, 20), (2, 3, 0, 5), (0, 2, 3, 4), (3, 0, 4, 5)]


tiles = pytest.fixture(on_level, params=WITH_TILES, autouse=True, name="tiles")


def without_tiles(tiles: str, run: Callable[[], Any]) -> Any:
    kernels.set_level(WITHOUT_TILES[tiles])
    try:
        return run()
    finally:
        kernels.set_level(tiles)


@pytest.mark.parametrize("products", TOLERANCE)
@pytest.mark.parametrize(("order", "lengths"), [("C", None), ("F", "ragged")])
@pytest.mark.parametrize("sizes", SIZES)
def test_integers_are_exact(
    tiles: str, sizes: tuple[int, int, int, int], lengths: str | None, order: Literal["C", "F"], products: int
) -> None:
    """Each factor meets the right one, part by part: otherwise sums of integers would differ from those of float32."""
    p = small_integers(problem("relu", sizes, "float32", lengths=lengths, reverse=lengths is not None))
    expected = without_tiles(tiles, lambda: results(p, products=products, order=order))
    assert_same(results(p, products=products, order=order), expected)


@pytest.mark.parametrize(("cell", "sizes", "products"), thin(FUSED_CELLS, SIZES[1:4], [*TOLERANCE], every=3))
def test_every_cell_agrees_with_float64(
    cell: str, sizes: tuple[int, int, int, int], products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without lengths and packed weights, in both directions, in all combinations of outputs."""
    monkeypatch.setattr(test_recurrence, "TOLERANCE", {"float32": TOLERANCE[products]})
    with use_precision(PRECISION[products]):
        test_recurrence.check(problem(cell, sizes, "float32"))
        test_recurrence.check(problem(cell, sizes, "float32", reverse=True, lengths="ragged"), "F")


def error(got: HostArray, want: HostArray) -> float:
    """The root mean square of the error, relative to that of the values."""
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))


@pytest.mark.parametrize("sizes", [(48, 256, 70), (32, 600, 16), (300, 32, 32)])
def test_six_products_are_more_accurate_than_float32(tiles: str, sizes: tuple[int, int, int]) -> None:
    p = problems.affine(*sizes, "float32")
    solution = solve_affine(p)

    def run(products: int) -> dict[str, HostArray]:
        dW, db = np.empty_like(p.W), np.empty_like(p.b)
        dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, products)
        return {"y": kernels.affine(p.x, p.W, p.b, products), "dx": dx, "dW": dW}

    ordinary, six, three = without_tiles(tiles, lambda: run(6)), run(6), run(3)
    for name in six:
        assert error(six[name], solution[name]) <= error(ordinary[name], solution[name]), name
        assert error(three[name], solution[name]) < 2e-5, name


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


# In `make test` each problem runs with some of the divisions among threads, in .ci/proof with more of them.
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.proof)])
@pytest.mark.parametrize(
    ("of", "lengths"),
    thin([("rnn", (3, 45, 9, 35)), ("lstm", (7, 18, 40, 50)), ("gru", (2, 3, 65, 150))], [None, "ragged"]),
)
def test_same_bits_however_divided(of: tuple[str, tuple[int, int, int, int]], lengths: str | None, every: bool) -> None:
    cell, sizes = of
    p = problem(cell, sizes, "float32", lengths=lengths, reverse=lengths is not None)
    for turn, products in enumerate(TOLERANCE):
        order: Any = "CF"[turn % 2]
        check_same_bits(lambda: results(p, products=products, order=order, left_out=False), turn, 3 if every else 17)  # noqa: B023


@pytest.mark.parametrize("cell", ["lstm", "leak by unit"])
def test_any_strides_and_order(cell: str) -> None:
    options: dict[str, Any] = {"sizes": (3, 19, 6, 37), "dtype": "float32", "lengths": "ragged"}
    expected = results(problem(cell, **options), products=6)
    for layout in LAYOUTS[1:]:
        assert_same(results(problem(cell, **options, layouts=[layout] * 8), products=6), expected, str(layout))


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
def test_exceptional_operands_have_the_results_of_float32(tiles: str, cell: str, value: float, place: str) -> None:
    """The same bits: the operation runs without tiles. If x or Wx is exceptional, a backward pass that does not need it
    runs by tiles, so passes that leave out results differ in rounding. A bias is no operand: its results only have NaN
    and infinity in the same places."""
    p = with_value(problem(cell, (2, 18, 5, 20), "float32"), place, value)
    expected = without_tiles(tiles, lambda: results(p, products=6, left_out=False))
    for products in (6, 3):
        got = results(p, products=products, left_out=False)
        for name, want in expected.items():
            if place == "b":
                assert_array_equal(np.isfinite(got[name]), np.isfinite(want))
            elif place == "dstates":  # the forward pass runs by tiles, so the backward pass has other inputs
                scale = np.abs(want, where=np.isfinite(want), out=np.zeros_like(want)).max()
                assert_allclose(got[name], want, rtol=0, atol=3e-4 * max(1, scale), err_msg=name)
            else:
                assert_array_equal(got[name], want, err_msg=name)


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
@pytest.mark.parametrize("operand", ["x", "W", "dy"])
@pytest.mark.parametrize("value", EXCEPTIONAL)
def test_exceptional_operands_of_an_affine_map(tiles: str, value: float, operand: str) -> None:
    p = problems.affine(40, 33, 18, "float32")
    getattr(p, operand).flat[100] = value

    def run(products: int = 6) -> list[HostArray]:
        dW, db = np.empty_like(p.W), np.empty_like(p.b)
        dx = kernels.affine_gradients(p.x, p.W, p.dy, dW, db, True, products)
        return [kernels.affine(p.x, p.W, p.b, products), dx, dW, db]

    expected = without_tiles(tiles, run)
    for products in (6, 3):
        y, *gradients = run(products)
        if operand != "dy":
            assert_array_equal(y, expected[0])
        for got, want in zip(gradients, expected[1:], strict=True):
            assert_array_equal(got, want)


@pytest.mark.parametrize(("cell", "H"), thin(["lstm", "gru"], [5, 40]))
def test_nan_in_the_scratch_memory_is_not_read(tiles: str, cell: str, H: int) -> None:
    """Blocks are filled up with zeros."""
    p = problem(cell, (70, 18, 5, H), "float32")
    W = np.full((700, 700), np.nan, "float32", "F")
    for products in (6, 1):
        expected = results(p, products=products)
        without_tiles(tiles, lambda: kernels.affine(np.ones((64, 700), "f4"), W, W[0].copy(), 6))  # packs W
        assert_same(results(p, products=products), expected)


def test_relu_that_grows_beyond_the_parts(tiles: str) -> None:
    """h becomes exceptional within the sequence."""
    p = problem("relu", (40, 17, 5, 20), "float32")
    np.fill_diagonal(p.weights[1], 3)
    expected = without_tiles(tiles, lambda: results(p, products=6))
    assert np.abs(expected["state 0"]).max() > 2.0**50
    assert_same(results(p, products=6), expected)


@pytest.mark.parametrize("size", [1e-10, 1e-20, 1e-30])
def test_small_operands_keep_their_relative_error(size: float) -> None:
    p = problems.affine(48, 64, 32, "float32")
    p.x *= np.float32(size)
    p.b[:] = 0
    exact = p.x.astype("float64") @ p.W.astype("float64")
    assert error(kernels.affine(p.x, p.W, p.b, 6), exact) < 2e-7


@pytest.mark.parametrize(("of_x", "of_W", "largest"), [(1e-38, 1, 1e-36), (1e-42, 1, 0), (1e-20, 1e-20, 0)])
def test_subnormal_operands_and_sums_count_as_zero(of_x: float, of_W: float, largest: float) -> None:
    p = problems.affine(48, 64, 32, "float32")
    p.x *= np.float32(of_x)
    p.W *= np.float32(of_W)
    p.b[:] = 0
    assert abs(kernels.affine(p.x, p.W, p.b, 6)).max() <= largest


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
def test_frozen_weights_that_parts_cannot_represent(tiles: str) -> None:
    layer = LSTM.init(5, 20, rng=0)
    layer.params[0][3, 7] = 1e20
    frozen, x = freeze(layer), np.random.default_rng(0).standard_normal((3, 18, 5)).astype("float32")
    expected = without_tiles(tiles, lambda: layer(x))
    for _ in range(3):  # the first call finds out, the second one packs
        for got, want in zip(frozen(x), expected, strict=True):
            assert_array_equal(got, want)
    for param in (frozen.Wx, frozen.Wh):
        ctypes.memset(param.ctypes.data, 0, param.nbytes)  # only the packed weights are left
    for got, want in zip(frozen(x), expected, strict=True):
        assert_array_equal(got, want)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
def test_a_signal_handler_may_use_tiles_during_a_call() -> None:
    """The registers are configured again after it. An exceptional operand of one call does not count for the other."""
    long, brief = problem("relu", (200, 64, 40, 128), "float32"), problems.affine(40, 33, 18, "float32")
    brief.x[0, 0] = 1e30
    layer: Any = long.layer(get_backend("numpy"))
    x = long.x
    seen: list[bool] = []

    def handler(*_: object) -> None:
        seen.append(np.array_equal(kernels.affine(brief.x, brief.W, brief.b, 6), of_brief))
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    kernels.force_partition(1, "rows", False)
    of_brief, expected = kernels.affine(brief.x, brief.W, brief.b, 6), layer(x)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        got = layer(x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        kernels.force_partition(0, "rows", False)
    assert len(seen) > 1  # otherwise the handler ran once, after the call
    assert all(seen)
    assert_array_equal(got, expected)


# ---- when tiles are used ----


def test_the_rule() -> None:
    assert kernels.repays_tiles(6, 50, 64, 512, 1024)
    assert kernels.repays_tiles(6, 50, 16, 512, 1024)
    for N, fewest in ((11, 6), (17, 6), (7, 3), (3, 1)):  # most rows of the tiles would be empty
        assert not kernels.repays_tiles(fewest, 50, N, 512, 1024)
    assert kernels.repays_tiles(3, 50, 8, 512, 1024)
    assert kernels.repays_tiles(1, 50, 4, 512, 1024)
    assert not kernels.repays_tiles(6, 1, 64, 512, 1024)  # the weights would be split for one step
    assert kernels.repays_tiles(6, 1, 128, 512, 1024)
    assert not kernels.repays_tiles(6, 50, 64, 64, 64)


@pytest.mark.parametrize(("sizes", "uses"), [((13, 11, 64, 256), False), ((4, 32, 64, 256), True)])
def test_small_sizes_do_not_use_tiles(tiles: str, sizes: tuple[int, int, int, int], uses: bool) -> None:
    kernels.force_products(False)
    p = problem("rnn", sizes, "float32")
    six, ordinary = results(p, products=6), without_tiles(tiles, lambda: results(p, products=6))
    assert np.any(six["state 0"] != ordinary["state 0"]) == uses


def test_explain(tiles: str) -> None:
    kernels.force_products(False)
    backend = get_backend("numpy")

    def why(precision: Any, N: int = 64, operation: Any = "recurrence_forward") -> str:
        with use_precision(precision):
            return explain(backend, operation, LSTMCell(), {"T": 50, "N": N, "D": 256, "H": 256}, "float32").why

    kinds = {"float32": "in float32, as six of bfloat16 parts,", "bfloat16x3": "as three of bfloat16 parts"}
    for precision, kind in {**kinds, "bfloat16": "in bfloat16"}.items():
        assert why(precision).endswith(f", products {kind} by {tiles}")
        assert why(precision, 1).endswith(", products in float32: too few rows, or too small")
        assert why(precision, operation="affine_forward").endswith(
            f", products {kind} by {tiles}, small ones in float32"
        )
    assert why("tf32") == why("float32")


def test_float64_does_not_change(tiles: str) -> None:
    p = problem("gru", (4, 17, 7, 19), "float64")
    assert_same(results(p, products=6), without_tiles(tiles, lambda: results(p, products=6)))


@pytest.mark.skipif("amx" not in WITH_TILES, reason="this CPU has no AMX, or the system refuses it")
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
