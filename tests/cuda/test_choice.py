"""The selection: its choices stay within the device, and follow the rules that it states."""

from __future__ import annotations

import itertools
import math
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from benchmarks.gpu import variants as compared
from benchmarks.gpu.choices import predicted
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import (
    DEVICES,
    HELD,
    ROWS,
    THREADS,
    Candidate,
    Device,
    Request,
    candidates,
    choose,
    max_outputs,
    table,
)
from xrnn.backends.cupy.launch import Variant, variants

H100 = DEVICES["h100"]
SIZES = [1, 3, 16, 63, 64, 100, 256, 257, 300, 512, 1000, 1024, 1536, 2048, 4000]


def request(
    T: int, N: int, H: int, cell: str = "rnn", dtype: str = "float32", *, backward: bool = False, D: int | None = None
) -> Request:
    return Request(NAMED[cell], backward, dtype, T, N, H if D is None else D, H)


def found(form: str, r: Request, device: Device = H100) -> list[Candidate]:
    return [c for c in candidates(device, r) if c.form == form]


@pytest.mark.parametrize("dtype", ROWS)
@pytest.mark.parametrize("cell", NAMED)
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_every_candidate_stays_within_the_device(device: Device, cell: str, dtype: str) -> None:
    for N, H, backward in itertools.product([1, 5, 133], SIZES, [False, True]):
        r = request(50, N, H, cell, dtype, backward=backward)
        for c in candidates(device, r):
            if (m := c.layout) is None:
                assert c.form == "stepwise"
                continue
            K, columns = r.weights(c.form, m.units)
            assert m.rows in ROWS[dtype]
            assert m.held in HELD[c.form]
            assert m.threads <= THREADS
            assert m.rows * m.units <= m.threads * max_outputs(r.cell, c.form, m.rows)
            assert m.shared_bytes <= device.shared_bytes
            assert m.slice >= m.held
            assert m.slice % r.vector == 0
            assert m.pitch // r.vector % 2 == 1
            slices, left = divmod(m.threads, m.column_threads)
            assert left == 0
            assert m.column_threads * r.vector >= columns  # all columns, and all of the sum
            assert slices * m.slice >= K
            S, G = c.grid
            if c.form == "one-block":
                assert m.units == H
                assert (S - 1) * m.rows < N <= S * m.rows
                assert G == 1
            else:
                assert 2 <= S * G <= device.multiprocessors  # one block to each
                assert (S - 1) * m.units < H <= S * m.units
                assert G <= N


@pytest.mark.parametrize(
    ("form", "cell", "backward", "largest"),
    [
        ("one-block", "rnn", False, 256),
        ("one-block", "lstm", False, 136),
        ("one-block", "lstm", True, 144),
        ("one-block", "gru", False, 168),
        ("group", "lstm", False, 1672),
        ("group", "lstm", True, 1584),
        ("group", "gru", False, 1760),
        ("group-partial", "lstm", True, 1024),
        ("group-partial", "gru", True, 1024),
    ],
)
def test_how_far_the_forms_reach(form: str, cell: str, backward: bool, largest: int) -> None:
    assert found(form, request(100, 1, largest, cell, backward=backward))
    assert not found(form, request(100, 1, largest + 16, cell, backward=backward))


@pytest.mark.parametrize(
    ("sizes", "cell", "form"),
    [
        ((50, 1, 64), "rnn", "one-block"),
        ((50, 64, 256), "rnn", "one-block"),
        ((100, 8, 512), "rnn", "group"),
        ((100, 32, 1024), "leak", "group"),
        ((100, 64, 128), "lstm", "one-block"),
        ((100, 16, 512), "lstm", "group"),
        ((100, 256, 1024), "gru", "stepwise"),  # the library's product is faster
        ((100, 32, 4000), "rnn", "stepwise"),  # nothing else fits
        ((1, 256, 1024), "rnn", "stepwise"),  # too short to read Wh for
        ((0, 8, 64), "rnn", "plain"),
        ((8, 0, 64), "rnn", "plain"),
        ((8, 8, 0), "rnn", "plain"),
        ((2**31, 8, 64), "rnn", "plain"),  # more steps than a kernel can count
    ],
)
def test_the_choice(sizes: tuple[int, int, int], cell: str, form: str) -> None:
    assert choose(H100, request(*sizes, cell)).form == form


def test_an_input_without_features() -> None:
    assert choose(H100, request(8, 8, 64, D=0)).form == "one-block"


def test_a_candidate_stays_as_it_is() -> None:
    # Candidates are cached, and returned again for the same sizes.
    chosen = choose(H100, request(50, 1, 64))
    with pytest.raises(FrozenInstanceError):
        chosen.seconds = 2  # type: ignore[misc]


def test_other_dtypes_take_the_plain_form() -> None:
    assert [c.form for c in candidates(H100, request(50, 8, 64, dtype="float16"))] == ["plain"]


def test_a_device_without_cooperative_launch_has_no_groups() -> None:
    device = Device("old", 132, 232_448, 1.8e9, 128, 64, cooperative=False)
    assert {c.form for c in candidates(device, request(50, 8, 512, "lstm", backward=True))} == {"stepwise"}


@pytest.mark.parametrize("cell", NAMED)
def test_the_chosen_one_is_predicted_to_be_the_fastest(cell: str) -> None:
    for N, H, backward in itertools.product([1, 256], SIZES, [False, True]):
        r = request(50, N, H, cell, backward=backward)
        assert choose(H100, r).seconds == min(c.seconds for c in candidates(H100, r))
        assert all(math.isfinite(c.seconds) and c.seconds >= 50 * c.step_seconds for c in candidates(H100, r))


def test_the_table_has_a_line_for_each_and_marks_one() -> None:
    r = request(100, 32, 1024, "lstm", backward=True)
    lines = table(H100, r).splitlines()
    head = "lstm backward, float32, T=100 N=32 D=1024 H=1024, on NVIDIA H100; times are predicted, not measured"
    assert lines[0] == head
    assert len(lines) == 2 + len(candidates(H100, r))
    (marked,) = [line for line in lines if line.startswith("→")]
    assert choose(H100, r).form in marked


def test_the_tables_of_the_documentation_are_those_that_the_commands_print() -> None:
    page = (Path(__file__).parents[2] / "docs" / "internals" / "cuda.md").read_text()
    blocks = [predicted(H100, "float32", 50, cell) for cell in NAMED]
    blocks.append(table(H100, request(50, 16, 1024, "lstm")).splitlines())
    for lines in blocks:
        assert "\n".join(["```text", *lines, "```"]) in page


def test_the_sizes_that_are_compared_reach_every_variant() -> None:
    every = set(variants())
    for name, device in DEVICES.items():
        found = {Variant.of(c, r) for c, r in compared.compared(device)}
        if name in ("h100", "h200"):
            assert found == every
        assert {(v.cell, v.form, v.backward, v.dtype) for v in found} == {
            (v.cell, v.form, v.backward, v.dtype) for v in every
        }
