"""The selection's arithmetic, by examples worked out by hand: on a device with round figures, in its clock's
nanoseconds. The costs are those at the top of choice.py: a corrected cost changes these examples.
"""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest

from xrnn.backends.cupy import choice
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Candidate, Device, Request, candidates, choose

ROUND = Device("round", 20, 150_000, 1e9, 128, 64, broadcast_wavefronts=2)


def request(
    T: int, N: int, D: int, H: int, cell: str = "rnn", dtype: str = "float32", backward: bool = False
) -> Request:
    return Request(NAMED[cell], backward, dtype, T, N, D, H)


def found(form: str, r: Request, device: Device = ROUND, **fields: object) -> Candidate:
    """The one candidate of this form whose layout has these fields."""
    (one,) = [
        c
        for c in candidates(device, r)
        if c.form == form and all(getattr(c.layout, name) == value for name, value in fields.items())
    ]
    return one


def layout_of(c: Candidate) -> tuple[int, ...]:
    """held, units, column_threads, slice, pitch, threads, shared bytes"""
    assert c.layout is not None
    return astuple(c.layout)[1:]


def test_a_product() -> None:
    # 6 · 7 · 8 = 336 multiplications, at half of 128 · 20 a nanosecond; float64 at half of that; others as float32.
    for dtype, nanoseconds in (("float32", 0.2625), ("float64", 0.525), ("float16", 0.2625)):
        r = request(1, 1, 1, 1, dtype=dtype)
        assert r.product_seconds(ROUND, 6, 7, 8) == pytest.approx(nanoseconds * 1e-9, rel=1e-12)


def test_the_stepwise_form() -> None:
    # Two launches, the product of the input (30 · 64 · 320 at 1280 a nanosecond: 480 ns), ten steps of 12 µs.
    small = found("stepwise", request(10, 3, 64, 320))
    assert small.step_seconds == 12e-6
    assert small.seconds == pytest.approx(16e-6 + 0.48e-6 + 120e-6, rel=1e-12)
    # LSTM's four parts: 64 · 1024 · 4096 at 1280 a nanosecond: 209.7152 µs a step, and 2.5 µs for the kernel.
    large = found("stepwise", request(10, 64, 1024, 1024, "lstm", backward=True))
    assert large.step_seconds == pytest.approx(212.2152e-6, rel=1e-12)
    assert large.seconds == pytest.approx(16e-6 + 10 * 212.2152e-6, rel=1e-12)  # backward: no product of the input


def test_a_block_with_all_of_wh_in_registers() -> None:
    c = found("one-block", request(50, 1, 64, 64), rows=1)
    # 16 rows a thread: 4 slices of 16 threads. Operands 4 · (16 + 4), sums 4 · 16 · 4 → 336 floats.
    assert layout_of(c) == (16, 64, 16, 16, 20, 64, 1344)
    # Multiplications 16 · 64 · 4 / 128 = 32; shared memory 4 · 2 warps · 2 wavefronts + 2 · 64 · 16 / 128 = 32.
    # Then 300, and a chain of 4 slices: 48. (With 8 rows: 8 slices, 444. With 32: 64 multiplying, 412.)
    assert c.step_seconds == pytest.approx(380e-9, rel=1e-12)
    # Three launches; the input's product, 50 · 64 · 64 / 1280 = 160 ns; Wh, 16,384 bytes at 100 a nanosecond.
    assert c.seconds == pytest.approx((24_000 + 160 + 163.84 + 50 * 380) * 1e-9, rel=1e-12)
    assert c.grid == (1, 1)


def test_a_block_with_a_part_of_wh_in_shared_memory() -> None:
    c = found("one-block", request(10, 5, 64, 256), rows=1)
    # 64 rows a thread, 32 of them in registers: the others 32 · 256 · 16 bytes; operands 4 · (64 + 4), sums 4 · 64 · 4.
    assert layout_of(c) == (32, 256, 64, 64, 68, 256, 131_072 + 4 * (272 + 1024))
    # Shared memory: Wh 1024, operands 16 · 8 warps · 2 = 256, sums 2 · 256 · 16 / 128 = 64 → 1344, more than 512
    # multiplying; then 300 and 4 slices.
    assert c.step_seconds == pytest.approx(1692e-9, rel=1e-12)
    # If a broadcast is one wavefront: 128 less.
    other = replace(ROUND, broadcast_wavefronts=1)
    assert found("one-block", request(10, 5, 64, 256), other, rows=1).step_seconds == pytest.approx(1564e-9)


def test_two_outputs_a_thread_and_more_blocks_than_multiprocessors() -> None:
    c = found("one-block", request(50, 81, 64, 64), rows=4)
    # 21 blocks, two waves of 20. 4 · 64 outputs, two a thread, need 128 threads: 8 slices of 8.
    assert c.grid == (21, 1)
    assert layout_of(c) == (8, 64, 16, 8, 12, 128, 4 * (4 * 8 * 12 + 8 * 4 * 64))
    # Multiplying 4 · 8 · 128 · 4 / 128 = 128; shared memory 4 · 2 · 4 warps · 2 + 2 · 4 · 128 · 16 / 128 = 192.
    # Each thread forms 2 outputs of 8 slices: 192.
    step = 192 + 300 + 192
    assert c.step_seconds == pytest.approx(2 * step * 1e-9, rel=1e-12)
    # The input's product, 50 · 81 · 64 · 64 / 1280 = 12,960 ns.
    assert c.seconds == pytest.approx((24_000 + 12_960 + 2 * (163.84 + 50 * step)) * 1e-9, rel=1e-12)


def test_a_group_with_a_tile_a_step() -> None:
    c = found("group", request(10, 3, 64, 512), units=64, rows=2)
    # 8 blocks share Wh: two groups, of two rows at most. 16 threads side by side, 16 slices of 32.
    assert c.grid == (8, 2)
    assert layout_of(c) == (32, 64, 16, 32, 36, 256, 4 * (2 * 16 * 36 + 16 * 2 * 64))
    # Multiplying 2 · 32 · 256 · 4 / 128 = 512; shared memory 2 · 8 · 8 · 2 + 2 · 2 · 256 · 16 / 128 = 384.
    # 300; 16 slices, one output a thread: 192. From L2: 2 · 512 · 4 bytes at 64 a cycle: 64, in one trip.
    tile = 512 + 300 + 192 + 64
    assert c.step_seconds == pytest.approx((700 + tile) * 1e-9, rel=1e-12)
    # Four launches; the input's product, 30 · 64 · 512 / 1280 = 768 ns; a block's share of Wh, 512 · 64 · 4 bytes.
    assert c.seconds == pytest.approx((32_000 + 768 + 1310.72 + 10 * (700 + tile)) * 1e-9, rel=1e-12)
    # Ten rows a group: tiles of 4, 4 and 2, each 1024 + 300 + 192 + 128.
    several = found("group", request(10, 20, 64, 512), units=64, rows=4)
    assert several.step_seconds == pytest.approx((700 + 1644 + 2 * (350 + 1644)) * 1e-9, rel=1e-12)


def test_lstm_in_a_group_both_ways() -> None:
    sizes = (10, 1, 64, 128)
    # 8 units are 32 columns: 8 threads side by side, 4 slices of 32 rows.
    forward = found("group", request(*sizes, "lstm"), units=8, rows=1)
    assert layout_of(forward)[:6] == (32, 8, 8, 32, 36, 32)
    # Multiplying 32 · 32 · 4 / 128 = 32, shared memory 8 · 2 + 2 · 32 · 16 / 128 = 24; 300 + 200; 4 slices of four
    # parts: 4 · (12 + 12). From L2: 128 · 4 / 64 = 8.
    assert forward.step_seconds == pytest.approx((700 + 32 + 500 + 96 + 8) * 1e-9, rel=1e-12)
    # Backward 512 rows of 8 columns: 2 threads side by side, 32 rows each: 16 slices. From L2 all of dz: 32.
    backward = found("group", request(*sizes, "lstm", backward=True), units=8, rows=1)
    assert layout_of(backward)[:6] == (32, 8, 2, 32, 36, 32)
    # Multiplying 32 · 32 · 4 / 128 = 32; shared memory 8 · 1 · 2 + 8 = 24; 500; 16 slices: 192. 512 elements, 512 a
    # trip.
    assert backward.step_seconds == pytest.approx((700 + 32 + 500 + 192 + 32) * 1e-9, rel=1e-12)
    # Partial sums: 32 rows of 128 columns: one slice of 32 threads. Written 8 and read 16 cycles, one trip of 8 · 32.
    partial = found("group-partial", request(*sizes, "lstm", backward=True), units=8, rows=1)
    assert layout_of(partial)[:6] == (32, 8, 32, 32, 36, 32)
    assert partial.step_seconds == pytest.approx((700 + 32 + 500 + 12 + 8 + 16) * 1e-9, rel=1e-12)


def test_all_blocks_share_the_rate_of_l2() -> None:
    slow = replace(ROUND, clock=10e9)  # 5.5e12 bytes a second for 20 blocks: 27.5 bytes a cycle, not 64
    # Three threads ask for 48 elements at a time: a second trip.
    c = found("group", request(10, 1, 64, 80), slow, units=4, rows=1)
    assert c.layout is not None
    assert choice._bring_cycles(slow, request(10, 1, 64, 80), "group", c.layout, 20) == pytest.approx(
        80 * 4 / 27.5 + 3500
    )


def test_how_blocks_and_groups_are_enumerated() -> None:
    groups = [c for c in candidates(ROUND, request(10, 100, 8, 40)) if c.form == "group"]
    # 40 units are 10 vectors: 1, 2, 3, 4 or 5 of them a block. (S from 2 to 20 gives no others.)
    assert list(dict.fromkeys((c.layout.units, c.grid) for c in groups if c.layout)) == [
        (4, (10, 2)),
        (8, (5, 4)),
        (12, (4, 5)),
        (16, (3, 6)),
        (20, (2, 10)),
    ]
    # No more groups than rows; tiles of no more rows than it takes to hold a group's share.
    few = [c for c in candidates(ROUND, request(10, 3, 8, 40)) if c.form == "group"]
    shares = [(c.grid[1], c.layout.rows) for c in few if c.layout]
    assert shares == [(2, 1), (2, 2), (3, 1), (3, 1), (3, 1), (3, 1)]
    # LSTM's four parts fill a vector with one unit.
    assert found("group", request(10, 1, 8, 20, "lstm"), units=1).grid == (20, 1)


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
    r = request(10, 99, 8, H)
    c = next(c for c in candidates(ROUND, r) if c.form == form)
    assert c.layout is not None
    same = {"rows": c.layout.rows, "units": c.layout.units, "held": c.layout.held}
    assert found(form, r, replace(ROUND, shared_bytes=c.layout.shared_bytes), **same) == c
    with pytest.raises(ValueError, match="not enough values"):
        found(form, r, replace(ROUND, shared_bytes=c.layout.shared_bytes - 1), **same)


def test_the_partial_sums_must_stay_in_l2() -> None:
    # Two slots of N · S · H floats: S = 10 blocks of 32 units, H = 320.
    limit = 24 * 10**6 // (8 * 10 * 320)
    fits = [
        any(
            c.form == "group-partial" and c.grid[0] == 10
            for c in candidates(ROUND, request(10, N, 8, 320, "gru", backward=True))
        )
        for N in (limit, limit + 1)
    ]
    assert fits == [True, False]


def test_the_choice_is_by_the_complete_time_not_by_a_step() -> None:
    # A single step, for which Wh has to be read: the stepwise form's takes longer, its launches less.
    stepwise, *others = candidates(ROUND, request(1, 1, 64, 64))
    assert stepwise.step_seconds > min(c.step_seconds for c in others)
    assert choose(ROUND, request(1, 1, 64, 64)).seconds == min(c.seconds for c in (stepwise, *others))
