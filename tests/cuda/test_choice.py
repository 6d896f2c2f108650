"""The selection: its choices stay within the device, and follow the rules that it states.

The documentation's tables hold the predicted times: a change of the arithmetic changes them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu.choices import predicted
from xrnn.backends.cupy import choice
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import DEVICES, ROWS, Candidate, Device, Request, candidates, choose, table

H100 = DEVICES["h100"]
ROUND = Device("round", "90", 20, 150_000, 1e9, 50 << 20, 3e12)  # its clock ticks in nanoseconds
SIZES = [1, 3, 16, 63, 64, 100, 256, 257, 300, 512, 1000, 1024, 1536, 2048, 4000]


def request(
    T: int,
    N: int,
    H: int,
    cell: str = "rnn",
    dtype: str = "float32",
    *,
    backward: bool = False,
    D: int | None = None,
    heads: int = 1,
) -> Request:
    return Request(NAMED[cell], backward, dtype, T, N, H if D is None else D, H, heads)


def found(form: str, r: Request, device: Device = H100) -> list[Candidate]:
    return [c for c in candidates(device, r) if c.form == form]


def one_of(form: str, r: Request, device: Device = ROUND, **fields: object) -> Candidate:
    """The one candidate of this form whose layout has these fields."""
    (one,) = [c for c in found(form, r, device) if all(getattr(c.layout, n) == value for n, value in fields.items())]
    return one


@pytest.mark.parametrize("dtype", ROWS)
@pytest.mark.parametrize("cell", {(k.fed, k.components): name for name, k in NAMED.items()}.values())
@pytest.mark.parametrize("name", ["h100", *(pytest.param(n, marks=pytest.mark.proof) for n in DEVICES if n != "h100")])
def test_every_candidate_stays_within_the_device(name: str, cell: str, dtype: str) -> None:
    device = DEVICES[name]
    for (N, heads), K, backward in itertools.product([(1, 1), (5, 3), (133, 1)], SIZES, [False, True]):
        heads = heads if NAMED[cell].fed else 1
        r = request(50, N, heads * K, cell, dtype, backward=backward, heads=heads)
        for c in candidates(device, r):
            assert math.isfinite(c.seconds)
            assert c.seconds >= 50 * c.step_seconds
            if (m := c.layout) is None:
                assert c.form == ("stepwise" if r.cell.fed else "scan")
                continue
            rows, columns = r.weights(c.form, m.units)
            assert m.rows in ROWS[dtype]
            assert m.held in choice.HELD[c.form]
            assert m.threads <= choice.THREADS
            assert m.rows * m.units <= m.threads * choice.max_outputs(r.cell, c.form, m.rows)
            assert m.shared_bytes <= device.shared_bytes
            assert m.slice >= m.held
            assert m.slice % r.vector == 0
            assert m.pitch // r.vector % 2 == 1
            slices, left = divmod(m.threads, m.column_threads)
            assert left == 0
            assert m.column_threads * r.vector >= columns  # all columns, and all of the sum
            assert slices * m.slice >= rows
            assert m.span in (m.column_threads, min(m.threads, 32))
            assert m.threads % m.span == 0
            S, G = c.grid
            if c.form == "one-block":
                assert m.units == K
                assert (S - 1) * m.rows < N <= S * m.rows
                assert G == 1
            else:
                assert S >= 2
                assert S * G * heads <= device.multiprocessors  # one block to each
                assert (S - 1) * m.units < K <= S * m.units
                assert G <= N


def test_each_head_has_blocks_of_its_own() -> None:
    # A block holds as much of a head as of a layer, and a group of one of four heads a quarter of the multiprocessors.
    for form, K in (("one-block", 136), ("group", 800)):
        fitting = found(form, request(50, 4, 4 * K, "lstm", heads=4))
        assert fitting
        assert form == "one-block" or max(c.grid[0] * c.grid[1] for c in fitting) <= H100.multiprocessors // 4
        assert not found(form, request(50, 4, 4 * (K + 32), "lstm", heads=4))
    # A group reads dz of a head by whole vectors of each part.
    for K, dtype, has_group in (
        (102, "float32", False),
        (104, "float32", True),
        (102, "float64", True),
        (101, "float64", False),
    ):
        r = request(50, 4, 3 * K, "gru", dtype, backward=True, heads=3)
        assert bool(found("group", r)) is has_group
        assert bool(found("group-partial", r)) is (dtype == "float32")
    # A grid has at most 65,535 heads; stepwise has no grid of heads.
    for H, forms in ((65_535, {"stepwise", "one-block"}), (65_536, {"stepwise"})):
        assert {c.form for c in candidates(H100, request(50, 4, H, heads=H))} == forms


@pytest.mark.parametrize(
    ("r", "form"),
    [
        (request(50, 1, 64), "one-block"),
        (request(50, 64, 256), "one-block"),
        (request(8, 8, 64, D=0), "one-block"),
        (request(100, 8, 512), "group"),
        (request(100, 32, 1024, "leak"), "group"),
        (request(100, 64, 128, "lstm"), "one-block"),
        (request(100, 16, 512, "lstm"), "group"),
        (request(100, 256, 1024, "gru"), "stepwise"),  # the library's product is faster
        (request(100, 32, 4000), "stepwise"),  # nothing else fits
        (request(1, 256, 1024), "stepwise"),  # too short to read Wh for
        (request(0, 8, 64), "plain"),
        (request(8, 0, 64), "plain"),
        (request(8, 8, 0), "plain"),
        (request(2**31, 8, 64), "plain"),  # more steps than a kernel can count
        (request(50, 8, 64, dtype="float16"), "plain"),
        (request(50, 8, 64, "min-gru"), "scan"),
        (request(1, 1, 1, "min-lstm", "float64", backward=True, D=0), "scan"),
        (request(0, 8, 64, "min-gru"), "plain"),
    ],
)
def test_the_choice(r: Request, form: str) -> None:
    assert choose(H100, r).form == form
    assert form not in ("plain", "scan") or len(candidates(H100, r)) == 1


def test_a_device_without_cooperative_launch_has_no_groups() -> None:
    device = replace(H100, cooperative=False)
    assert {c.form for c in candidates(device, request(50, 8, 512, "lstm", backward=True))} == {"stepwise"}


def test_the_tables_of_the_documentation_are_those_that_the_commands_print() -> None:
    page = (Path(__file__).parents[2] / "docs" / "internals" / "cuda.md").read_text()
    for lines in (predicted(H100, "float32", 50, "lstm"), table(H100, request(50, 16, 1500, "lstm")).splitlines()):
        assert "\n".join(["```text", *lines, "```"]) in page


def test_a_product() -> None:
    # 336 million multiplications, at half of 128 · 20 a nanosecond; float64 at half of that; others as float32.
    for dtype, microseconds in (("float32", 262.5), ("float64", 525), ("float16", 262.5)):
        r = request(1, 1, 1, dtype=dtype)
        assert r.product_seconds(ROUND, 600, 700, 800) == pytest.approx(microseconds * 1e-6, rel=1e-12)
    # A vector by a matrix reads the matrix: from L2, at 23 · 20 bytes a nanosecond, or from memory.
    r = request(1, 1, 1)
    assert r.product_seconds(ROUND, 1, 1000, 1000) == pytest.approx(4 * 1_002_000 / 460e9, rel=1e-12)
    assert r.product_seconds(ROUND, 1, 2048, 8192) == pytest.approx(4 * (2**24 + 10_240) / 3e12, rel=1e-12)


def test_a_precision_makes_the_librarys_products_faster_where_the_device_has_it() -> None:
    r = request(50, 256, 1024, "lstm")
    for device, rate in ((H100, 8), (DEVICES["4090"], 1), (DEVICES["t4"], 1)):
        full, tf32 = (
            replace(r, precision=name).product_seconds(device, 4096, 4096, 4096) for name in ("float32", "tf32")
        )
        assert full / tf32 == pytest.approx(rate, rel=1e-12)
    many = request(100, 512, 1024)
    assert (choose(H100, many).form, choose(H100, replace(many, precision="tf32")).form) == ("group", "stepwise")
    assert r.product_seconds(H100, 1, 2048, 8192) == replace(r, precision="tf32").product_seconds(H100, 1, 2048, 8192)


@pytest.mark.parametrize(
    ("name", "r", "microseconds"),
    [
        # The bytes that a step moves: forward z twice and h, backward also the gradient of h. An LRU keeps no z.
        ("h100", request(1000, 256, 1024, "min-gru"), 4 * 256 * 1024 * 5 / 3350e3),
        ("h100", request(1000, 256, 1024, "min-lstm", backward=True), 4 * 256 * 1024 * 8 / 3350e3),
        ("h100", request(1000, 256, 1024, "lru", backward=True), 4 * 256 * 1024 * 3 / 3350e3),
        # A read, of which eight are requested ahead: of memory, or of L2 if that has all of z.
        ("h100", request(10**6, 1, 256, "min-gru"), 0.7 / 8),
        ("h100", request(1000, 1, 256, "min-gru"), 0.35 / 8),
        # The instructions of eight warps for each scheduler, which take two cycles each there; in double 64.
        ("t4", request(1, 128, 320, "min-lstm"), 8 * 2 * 160 / 1.59e3),
        ("4090", request(10, 1, 256, "min-gru", "float64"), 64 * 60 / 2.52e3),
    ],
)
def test_what_a_step_of_the_scan_form_takes(name: str, r: Request, microseconds: float) -> None:
    assert choose(DEVICES[name], r).step_seconds == pytest.approx(microseconds * 1e-6, rel=1e-9)


def test_threads_are_spread_over_the_device() -> None:
    assert [choice.spread(H100, n) for n in (1, 33, 16 * 256, 33 * 256, 256 * 1024)] == [32, 32, 32, 64, 256]


def test_how_blocks_and_groups_are_enumerated() -> None:
    groups = found("group", request(10, 100, 40, D=8), ROUND)
    # 40 units are 10 vectors: 1, 2, 3, 4 or 5 of them a block. (S from 2 to 20 gives no others.)
    by_units = {c.layout.units: c.grid for c in groups if c.layout}
    assert by_units == {4: (10, 2), 8: (5, 4), 12: (4, 5), 16: (3, 6), 20: (2, 10)}
    # No more groups than rows; tiles of no more rows than it takes to hold a group's share.
    few = found("group", request(10, 3, 40, D=8), ROUND)
    shares = [(c.grid[1], c.layout.rows) for c in few if c.layout]
    assert shares == [(2, 1), (2, 2), (3, 1), (3, 1), (3, 1), (3, 1)]
    # LSTM's four parts fill a vector with one unit.
    assert one_of("group", request(10, 1, 20, "lstm", D=8), units=1).grid == (20, 1)


@pytest.mark.parametrize("name", ["T", "N", "D", "H"])
def test_what_a_kernel_can_count(name: str) -> None:
    sizes = {"T": 5, "N": 5, "D": 5, "H": 5}
    forms = {
        n: {c.form for c in candidates(ROUND, Request(NAMED["rnn"], False, "float32", *{**sizes, name: n}.values()))}
        for n in (0, 1, 2**30, 2**30 + 1)
    }
    if name == "D":  # the input's product is the library's
        assert forms[0] == forms[1] == forms[2**30 + 1] == {"stepwise", "one-block", "group"}
    else:
        assert forms[0] == forms[2**30 + 1] == {"plain"}
        assert "one-block" in forms[1]
        assert name == "H" or "one-block" in forms[2**30]


@pytest.mark.parametrize(("form", "H"), [("one-block", 256), ("group", 1024)])
def test_shared_memory_to_the_last_byte(form: str, H: int) -> None:
    r = request(10, 99, H, D=8)
    c, *_ = found(form, r, ROUND)
    assert c.layout is not None
    same = {"rows": c.layout.rows, "units": c.layout.units, "held": c.layout.held}
    assert one_of(form, r, replace(ROUND, shared_bytes=c.layout.shared_bytes), **same) == c
    with pytest.raises(ValueError, match="not enough values"):
        one_of(form, r, replace(ROUND, shared_bytes=c.layout.shared_bytes - 1), **same)


def test_the_partial_sums_must_stay_in_l2() -> None:
    # Two slots of N · S · H floats: S = 10 blocks of 32 units, H = 320.
    limit = ROUND.l2_bytes // 2 // (8 * 10 * 320)
    for N, fits in ((limit, True), (limit + 1, False)):
        partial = found("group-partial", request(10, N, 320, "gru", backward=True, D=8), ROUND)
        assert any(c.grid[0] == 10 for c in partial) is fits


def test_the_choice_is_by_the_complete_time_not_by_a_step() -> None:
    # A single step, for which Wh has to be read: the stepwise form's takes longer, its launches less.
    stepwise, *others = candidates(ROUND, request(1, 1, 64))
    assert stepwise.step_seconds > min(c.step_seconds for c in others)
    assert choose(ROUND, request(1, 1, 64)).seconds == min(c.seconds for c in (stepwise, *others))
