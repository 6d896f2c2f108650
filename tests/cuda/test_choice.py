"""The selection: what it chooses stays within the device, and follows the rules that it states."""

from __future__ import annotations

import itertools
import math
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from benchmarks.gpu import variants as sanitized
from benchmarks.gpu.choices import predicted
from tests.cuda.variants import variants
from xrnn.backends.cupy.choice import DEVICES, KEPT, MAX_THREADS, ROWS, Candidate, Device, candidates, choose, table

H100 = DEVICES["h100"]
SIZES = [1, 3, 16, 63, 64, 100, 256, 257, 300, 512, 1000, 1024, 1536, 2048, 4000]


def found(form: str, device: Device, dtype: str, T: int, N: int, H: int) -> list[Candidate]:
    return [c for c in candidates(device, dtype, T, N, H, H) if c.form == form]


@pytest.mark.parametrize("dtype", ROWS)
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_every_candidate_stays_within_the_device(device: Device, dtype: str) -> None:
    vector = 4 if dtype == "float32" else 2
    for N, H in itertools.product([1, 2, 5, 32, 133, 1000], SIZES):
        kernels = [c for c in candidates(device, dtype, 50, N, H, H) if c.form != "plain"]
        for c in kernels:
            assert c.rows in ROWS[dtype]
            assert c.kept in KEPT[c.form]
            assert c.columns <= c.threads <= MAX_THREADS
            assert c.shared_bytes <= device.shared_bytes
            assert c.slice >= c.kept
            assert c.slice % vector == 0
            assert c.pitch // vector % 2 == 1
            slices, left = divmod(c.threads, c.column_threads)
            assert left == 0
            assert c.column_threads * vector >= c.columns  # all columns, and all of the sum
            assert slices * c.slice >= H
            S, G = c.grid
            if c.form == "group":
                assert 2 <= S * G <= device.multiprocessors  # one block to each
                assert (S - 1) * c.columns < H <= S * c.columns
                assert G <= N
            else:
                assert c.columns == H
                assert (S - 1) * c.rows < N <= S * c.rows
                assert G == 1


def test_the_forms_reach_as_far_as_the_design_says() -> None:
    assert found("one-block", H100, "float32", 100, 1, 256)
    assert not found("one-block", H100, "float32", 100, 1, 257)
    assert found("one-block", H100, "float64", 100, 1, 128)
    assert found("group", H100, "float32", 100, 32, 2048)
    assert found("group", H100, "float64", 100, 32, 1024)
    assert not found("group", H100, "float32", 100, 32, 4000)


@pytest.mark.parametrize(
    ("sizes", "form"),
    [
        ((50, 1, 64, 64), "one-block"),
        ((50, 64, 256, 256), "one-block"),
        ((100, 8, 512, 512), "group"),
        ((100, 32, 1024, 1024), "group"),
        ((100, 32, 4000, 4000), "plain"),  # nothing fits
        ((1, 256, 1024, 1024), "plain"),  # too short to bring W in for
        ((0, 8, 64, 64), "plain"),
        ((8, 0, 64, 64), "plain"),
        ((8, 8, 64, 0), "plain"),
        ((2**31, 8, 64, 64), "plain"),  # more steps than a kernel can count
        ((8, 8, 0, 64), "one-block"),
    ],
)
def test_the_choice(sizes: tuple[int, int, int, int], form: str) -> None:
    assert choose(H100, "float32", *sizes).form == form


def test_a_share_of_w_may_be_padded_to_what_the_registers_hold() -> None:
    (c,) = [c for c in found("one-block", H100, "float32", 50, 1, 144) if c.rows == 1]
    assert (c.kept, c.slice, c.threads) == (32, 32, 180)  # 216 threads have 24 rows, 8 of them in shared memory


def test_a_candidate_stays_as_it_is() -> None:
    # They are kept, and handed to whoever asks for the same sizes again.
    chosen = choose(H100, "float32", 50, 1, 64, 64)
    with pytest.raises(FrozenInstanceError):
        chosen.rows = 2  # type: ignore[misc]


def test_other_dtypes_take_the_plain_form() -> None:
    assert [c.form for c in candidates(H100, "float16", 50, 8, 64, 64)] == ["plain"]


def test_a_device_without_cooperative_launch_has_no_groups() -> None:
    device = Device("old", 132, 232_448, 1.8e9, 128, 64, cooperative=False)
    assert {c.form for c in candidates(device, "float32", 50, 8, 512, 512)} == {"plain"}


def test_the_chosen_one_is_predicted_to_be_the_fastest() -> None:
    for N, H in itertools.product([1, 32, 256], SIZES):
        all_of_them = candidates(H100, "float32", 50, N, H, H)
        assert choose(H100, "float32", 50, N, H, H).seconds == min(c.seconds for c in all_of_them)
        assert all(math.isfinite(c.seconds) and c.seconds >= 50 * c.step_seconds for c in all_of_them)


def test_the_table_has_a_line_for_each_and_marks_one() -> None:
    text = table(H100, "float32", 100, 32, 1024, 1024)
    lines = text.splitlines()
    assert lines[0] == "NVIDIA H100, float32, T=100 N=32 D=1024 H=1024; times are predicted, not measured"
    assert len(lines) == 2 + len(candidates(H100, "float32", 100, 32, 1024, 1024))
    (marked,) = [line for line in lines if line.startswith("→")]
    assert "group" in marked


def test_the_tables_of_the_documentation_are_those_that_the_commands_print() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cuda.md").read_text()
    for lines in (predicted(H100, "float32", 50), table(H100, "float32", 50, 16, 1024, 1024).splitlines()):
        assert "\n".join(["```text", *lines, "```"]) in page


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_the_sizes_that_are_compared_reach_every_variant(device: Device) -> None:
    found = {(c.form, dtype, c.rows, c.kept) for c, dtype, _ in sanitized.variants(device)}
    assert found == {(v.form, v.dtype, v.rows, v.kept) for v in variants()}
