"""The selection's arithmetic, by examples worked out by hand: on a device with round figures, in its clock's
nanoseconds. The costs are those at the top of choice.py; whoever corrects one by a measurement works these out anew.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from xrnn.backends.cupy import choice
from xrnn.backends.cupy.choice import DEVICES, Candidate, Device, candidates, choose, product_seconds

ROUND = Device("round", 20, 150_000, 1e9, 128, 64, broadcast_wavefronts=2)


def found(form: str, dtype: str, T: int, N: int, D: int, H: int, device: Device = ROUND, **fields: object) -> Candidate:
    """The one candidate of this form that has these fields."""
    every = [c for c in candidates(device, dtype, T, N, D, H) if c.form == form]
    (one,) = [c for c in every if all(getattr(c, name) == value for name, value in fields.items())]
    return one


def layout_of(c: Candidate) -> tuple[int, ...]:
    return c.kept, c.columns, c.column_threads, c.slice, c.pitch, c.threads, c.shared_bytes


def test_the_costs_of_the_examples() -> None:
    microseconds = choice.EXCHANGE, choice.ROUND_TRIP, choice.PLAIN_STEP, choice.LAUNCH
    assert microseconds == (0.7e-6, 0.35e-6, 12e-6, 8e-6)
    assert (choice.STEP_CYCLES, choice.SLICE_CYCLES) == (300, 12)
    assert (choice.SHARED_BYTES_PER_CYCLE, choice.L2_BYTES_PER_CYCLE) == (128, 64)
    assert (choice.WEIGHTS_BANDWIDTH, choice.PRODUCT_EFFICIENCY) == (100e9, 0.5)
    assert (choice.MAX_THREADS, choice.VECTOR_BYTES, choice.LOADS, choice.MAX_SIZE) == (256, 16, 4, 1_073_741_824)


def test_the_devices() -> None:
    figures = {
        name: (d.multiprocessors, d.shared_bytes, d.clock, d.float32_rate, d.float64_rate, d.broadcast_wavefronts)
        for name, d in DEVICES.items()
    }
    assert figures == {
        "a100": (108, 166_912, 1.41e9, 64, 32, 1),
        "h100": (132, 232_448, 1.83e9, 128, 64, 2),
        "h200": (132, 232_448, 1.83e9, 128, 64, 2),
        "b200": (148, 232_448, 1.85e9, 128, 64, 1),
    }
    assert all(device.cooperative for device in DEVICES.values())


def test_a_product() -> None:
    # 6 · 7 · 8 = 336 multiplications, at half of 128 · 20 a nanosecond; float64 at half of that; others as float32.
    assert product_seconds(ROUND, "float32", 6, 7, 8) == pytest.approx(0.2625e-9, rel=1e-12)
    assert product_seconds(ROUND, "float64", 6, 7, 8) == pytest.approx(0.525e-9, rel=1e-12)
    assert product_seconds(ROUND, "float16", 6, 7, 8) == pytest.approx(0.2625e-9, rel=1e-12)


def test_the_plain_form() -> None:
    # Two launches, the product of the input (30 · 64 · 320 at 1280 a nanosecond: 480 ns), ten steps of 12 µs.
    small = found("plain", "float32", 10, 3, 64, 320)
    assert small.step_seconds == 12e-6
    assert small.seconds == pytest.approx(16e-6 + 0.48e-6 + 120e-6, rel=1e-12)
    no_kernel = Candidate("plain", small.seconds, 12e-6, 0, 0, 0, 0, 0, 0, 0, (0, 0), 0)
    assert small == no_kernel
    # 64 · 1024 · 1024 at 1280 a nanosecond: 52.4288 µs a step, more than its launches take. The input of ten: as much.
    large = found("plain", "float32", 10, 64, 1024, 1024)
    assert large.step_seconds == pytest.approx(52.4288e-6, rel=1e-12)
    assert large.seconds == pytest.approx(16e-6 + 2 * 524.288e-6, rel=1e-12)


def test_a_block_with_all_of_w_in_registers() -> None:
    c = found("one-block", "float32", 50, 1, 64, 64, rows=1)
    # 16 rows a thread: 4 slices of 16 threads. States 4 · (16 + 4), sums 4 · 16 · 4 → 336 floats.
    assert layout_of(c) == (16, 64, 16, 16, 20, 64, 1344)
    # Multiplications 16 · 64 · 4 / 128 = 32; shared memory 4 · 2 warps · 2 wavefronts + 2 · 64 · 16 / 128 = 32.
    # Then 300, and a chain of 4 slices: 48. (With 8 rows: 8 slices, 444. With 32: 64 multiplying, 412.)
    assert c.step_seconds == pytest.approx(380e-9, rel=1e-12)
    # Three launches; the input's product, 50 · 64 · 64 / 1280 = 160 ns; W, 16,384 bytes at 100 a nanosecond.
    assert c.seconds == pytest.approx((24_000 + 160 + 163.84 + 50 * 380) * 1e-9, rel=1e-12)
    assert c.grid == (1, 1)


def test_a_block_with_a_part_of_w_in_shared_memory() -> None:
    c = found("one-block", "float32", 10, 5, 64, 256, rows=1)
    # 64 rows a thread, 32 of them in registers: the others 32 · 256 · 16 bytes; states 4 · (64 + 4), sums 4 · 64 · 4.
    assert layout_of(c) == (32, 256, 64, 64, 68, 256, 131_072 + 4 * (272 + 1024))
    # Shared memory: W 1024, states 16 · 8 warps · 2 = 256, sums 2 · 256 · 16 / 128 = 64 → 1344, more than 512
    # multiplying; then 300 and 4 slices.
    assert c.step_seconds == pytest.approx(1692e-9, rel=1e-12)
    assert c.grid == (5, 1)
    # Where a broadcast is one wavefront: 128 less.
    other = replace(ROUND, broadcast_wavefronts=1)
    assert found("one-block", "float32", 10, 5, 64, 256, other, rows=1).step_seconds == pytest.approx(1564e-9)


def test_a_block_with_several_rows_and_more_blocks_than_multiprocessors() -> None:
    c = found("one-block", "float32", 50, 81, 64, 64, rows=4)
    # 21 blocks, two waves of 20. 16 rows of W a thread, as before; states 4 · 80, sums 4 · 4 · 64 floats.
    assert c.grid == (21, 1)
    assert layout_of(c) == (16, 64, 16, 16, 20, 64, 4 * (320 + 1024))
    # Multiplying 4 · 32; shared memory 4 · (16 + 16) = 128. Each thread forms 4 outputs of 4 slices: 192.
    step = 128 + 300 + 192
    assert c.step_seconds == pytest.approx(2 * step * 1e-9, rel=1e-12)
    # The input's product, 50 · 81 · 64 · 64 / 1280 = 12,960 ns.
    assert c.seconds == pytest.approx((24_000 + 12_960 + 2 * (163.84 + 50 * step)) * 1e-9, rel=1e-12)


def test_a_block_in_float64() -> None:
    c = found("one-block", "float64", 50, 1, 64, 24, rows=2)
    # 12 threads side by side, two columns each. 16 rows a thread: 2 slices. States 2 · 2 · (16 + 2), sums 2 · 2 · 24.
    assert layout_of(c) == (16, 24, 12, 16, 18, 24, 8 * (72 + 96))
    # Multiplying 2 · 16 · 24 · 2 / 64 = 24; shared memory 2 · 8 · 1 warp · 2 + 2 · 2 · 24 · 16 / 128 = 32 + 12 = 44.
    # A thread forms two outputs of 2 slices: 48. (With 8 rows: 50 and two outputs of 3 slices, 422.)
    assert c.step_seconds == pytest.approx(392e-9, rel=1e-12)
    assert c.seconds == pytest.approx((24_000 + 50 * 64 * 24 / 640 + 24 * 24 * 8 / 100 + 50 * 392) * 1e-9, rel=1e-12)


def test_a_warp_that_is_not_full_is_a_whole_one() -> None:
    block = choice.layout("float64", 22, 22, 1, 8, 8)
    assert (block["threads"], block["column_threads"]) == (33, 11)
    # Shared memory: states 4 · 2 warps · 2, sums 2 · 33 · 16 / 128 = 8.25; 300; 3 slices.
    assert choice._tile_cycles(ROUND, "one-block", "float64", 22, 1, block) == pytest.approx(24.25 + 300 + 36)


def test_the_table() -> None:
    head, titles, plain, block, *_ = choice.table(ROUND, "float32", 50, 81, 64, 64).splitlines()
    assert head == "round, float32, T=50 N=81 D=64 H=64; times are predicted, not measured"
    assert titles.split() == ["form", "grid", "threads", "rows", "kept", "shared", "µs", "a", "step", "µs"]
    # 16 + 12.96 + 600 µs. A block for each row: five waves of 380 ns, 24 + 12.96 + 5 · (0.16384 + 19) µs.
    assert plain.split() == ["plain", "-", "-", "-", "-", "0.0", "KB", "12.00", "629.0"]
    assert block.split() == ["one-block", "81", "×", "1", "64", "1", "16", "1.3", "KB", "1.90", "132.8"]


def test_the_table_of_what_takes_a_second() -> None:
    # A product of 1.28 million · 1000 · 1000 at 1280 a nanosecond: a second a step; two launches before it.
    *_, plain = (line.split() for line in choice.table(ROUND, "float32", 1, 1_280_000, 0, 1000).splitlines()[:3])
    assert plain[-2:] == ["1000000.00", "1000016.0"]


def test_a_group_with_a_tile_a_step() -> None:
    c = found("group", "float32", 10, 3, 64, 512, columns=64)
    # 8 blocks share W: two groups, of two rows at most. 16 threads side by side, 16 slices of 32.
    assert (c.grid, c.rows) == ((8, 2), 2)
    assert layout_of(c) == (32, 64, 16, 32, 36, 256, 4 * (2 * 16 * 36 + 16 * 2 * 64))
    # Multiplying 2 · 32 · 256 · 4 / 128 = 512; shared memory 2 · 8 · 8 · 2 + 2 · 2 · 256 · 16 / 128 = 384.
    # 300; 16 slices, one output a thread: 192. From L2: 2 · 512 · 4 bytes at 64 a cycle: 64, in one trip.
    tile = 512 + 300 + 192 + 64
    assert c.step_seconds == pytest.approx((700 + tile) * 1e-9, rel=1e-12)
    # Four launches; the input's product, 30 · 64 · 512 / 1280 = 768 ns; a block's share of W, 512 · 64 · 4 bytes.
    assert c.seconds == pytest.approx((32_000 + 768 + 1310.72 + 10 * (700 + tile)) * 1e-9, rel=1e-12)


def test_a_group_with_several_tiles_a_step() -> None:
    c = found("group", "float32", 10, 20, 64, 512, columns=64)
    # Ten rows a group: tiles of 4, 4 and 2.
    assert (c.grid, c.rows) == ((8, 2), 4)
    # Multiplying 1024, shared memory 768; 300; 192 (a thread forms one output); 4 · 512 · 4 / 64 = 128.
    tile = 1024 + 300 + 192 + 128
    assert c.step_seconds == pytest.approx((700 + tile + 2 * (350 + tile)) * 1e-9, rel=1e-12)


def test_a_group_that_asks_for_its_states_in_several_trips() -> None:
    c = found("group", "float64", 10, 1, 64, 600, columns=32)
    # 19 blocks; 16 threads side by side, 16 slices of 38, 32 of them in registers: 6 · 256 · 16 bytes in shared memory.
    assert (c.grid, c.rows) == ((19, 1), 1)
    assert layout_of(c) == (32, 32, 16, 38, 38, 256, 24_576 + 8 * (16 * 38 + 16 * 32))
    # Multiplying 38 · 256 · 2 / 64 = 304; shared memory 192 + 19 · 8 · 2 + 64 = 560. 300; 192. From L2 75 cycles.
    assert c.step_seconds == pytest.approx((700 + 560 + 300 + 192 + 75) * 1e-9, rel=1e-12)
    # 2048 states: 4 vectors of 2 for each of 256 threads is one trip; two rows of them are two.
    assert trips(2048, 1) == 1
    assert trips(2049, 1) == 2
    assert trips(2048, 2) == 2


def trips(H: int, rows: int) -> int:
    """Of a tile in float64, on blocks of 256 threads, by what each trip but the first adds to it."""
    block = choice.layout("float64", H, 32, rows, 32, 2 * -(-H // 32))
    assert block["threads"] == 256
    of_one_block = choice._tile_cycles(ROUND, "one-block", "float64", H, rows, block)
    further = choice._tile_cycles(ROUND, "group", "float64", H, rows, block) - of_one_block - rows * H * 8 / 64
    return 1 + round(further / 350)


def test_how_blocks_and_groups_are_enumerated() -> None:
    groups = [c for c in candidates(ROUND, "float32", 10, 100, 8, 40) if c.form == "group"]
    # 40 columns are 10 vectors: 1, 2, 3, 4 or 5 of them a block. (S from 2 to 20 gives no others.)
    assert [(c.columns, c.grid) for c in groups] == [
        (4, (10, 2)),
        (8, (5, 4)),
        (12, (4, 5)),
        (16, (3, 6)),
        (20, (2, 10)),
    ]
    # No more groups than rows; the fewest rows of a tile that hold a group's share, or the most there are.
    few = [c for c in candidates(ROUND, "float32", 10, 3, 8, 40) if c.form == "group"]
    assert [(c.grid[1], c.rows) for c in few] == [(2, 2), (3, 1), (3, 1), (3, 1), (3, 1)]
    assert {c.rows for c in groups} == {4}
    # A vector for each multiprocessor: twenty blocks, and no fewer have as few columns.
    (widest,) = [c for c in candidates(ROUND, "float32", 10, 1, 8, 80) if c.columns == 4]
    assert widest.grid == (20, 1)


def test_a_group_that_does_not_fit_says_nothing_of_one_with_fewer_blocks() -> None:
    # 11 blocks are one group, whose tile has four rows; 10 are two, whose tiles have two, and take less memory.
    small = replace(ROUND, shared_bytes=48_000)
    fitting = [(c.grid, c.rows) for c in candidates(small, "float32", 10, 3, 8, 640) if c.form == "group"]
    assert fitting[-2:] == [((12, 1), 4), ((10, 2), 2)]


@pytest.mark.parametrize("name", ["T", "N", "D", "H"])
def test_what_a_kernel_can_count(name: str) -> None:
    sizes = {"T": 5, "N": 5, "D": 5, "H": 5}
    forms = {number: forms_of({**sizes, name: number}) for number in (0, 1, 2**30, 2**30 + 1)}
    assert "plain" in forms[0] & forms[2**30 + 1]
    if name == "D":  # the input's product is the library's
        assert forms[0] == forms[1] == forms[2**30 + 1] == {"plain", "one-block", "group"}
    else:
        assert forms[0] == forms[2**30 + 1] == {"plain"}
        assert "one-block" in forms[1]
        assert name == "H" or "one-block" in forms[2**30]


def forms_of(sizes: dict[str, int]) -> set[str]:
    return {c.form for c in candidates(ROUND, "float32", *sizes.values())}


def test_shared_memory_to_the_last_byte() -> None:
    for form, H, rows in (("one-block", 256, 1), ("group", 1024, 4)):
        c = min((c for c in candidates(ROUND, "float32", 10, 99, 8, H) if c.form == form and c.rows == rows), key=str)
        same = {"rows": c.rows, "columns": c.columns, "kept": c.kept}
        enough, too_few = replace(ROUND, shared_bytes=c.shared_bytes), replace(ROUND, shared_bytes=c.shared_bytes - 1)
        assert found(form, "float32", 10, 99, 8, H, enough, **same) == c
        with pytest.raises(ValueError, match="not enough values"):
            found(form, "float32", 10, 99, 8, H, too_few, **same)


def test_the_columns_of_a_block_to_the_last() -> None:
    # A vector of slices at least: 64 threads side by side in float32, 128 in float64, where a vector is two.
    large = replace(ROUND, shared_bytes=10**7)
    for dtype, H in (("float32", 256), ("float64", 256)):
        assert found("one-block", dtype, 10, 1, 8, H, large, rows=1).threads == 256
        assert not [c for c in candidates(large, dtype, 10, 1, 8, H + 1) if c.form == "one-block"]


def test_the_choice_is_by_the_whole_time_not_by_a_step() -> None:
    # A single step, for which W has to be brought in: the plain form's takes longer, its launches less.
    plain, *others = candidates(ROUND, "float32", 1, 1, 64, 64)
    assert (
        choose(ROUND, "float32", 1, 1, 64, 64) is plain or min(others, key=lambda c: c.seconds).seconds < plain.seconds
    )
    assert plain.step_seconds > min(c.step_seconds for c in others)
    assert choose(ROUND, "float32", 1, 1, 64, 64).seconds == min(c.seconds for c in (plain, *others))
