"""Ratios, sums and tables of small made-up results."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from benchmarks import parallel
from benchmarks.cases import Case
from benchmarks.ratios import fastest, gflops, ratio
from benchmarks.report import against_peers, print_changes, print_comparison

CASE = Case(50, 16, 64, 64)
ONE_ROW = Case(50, 1, 64, 64)


def row(case: Case = CASE, operation: str = "forward", **microseconds: Any) -> dict[str, Any]:
    """microseconds: of each library, of three rounds or one number for all of them"""
    return {
        "case": case.name,
        "cell": case.cell,
        "ragged": case.ragged,
        **dict(zip("TNDH", case.sizes, strict=True)),
        "operation": operation,
        "flops": case.flops(operation),
        "microseconds": {name: t if isinstance(t, list) else [t] * 3 for name, t in microseconds.items()},
        "errors": {},
        "forms": {"xrnn": "fused"},
        "ceiling_gflops": [400.0] * 3,
    }


def results(*rows: dict[str, Any]) -> dict[str, Any]:
    machine = {"cpu": "some CPU", "threads": 2, "date": "2026-01-01T00:00+00:00"}
    return {"machine": machine, "dtype": "float32", "rounds": 3, "cases": list(rows)}


def printed(printer: Any, result: dict[str, Any]) -> str:
    file = io.StringIO()
    printer(result, Console(file=file, width=200))
    return file.getvalue()


@pytest.mark.parametrize(
    ("ours", "theirs", "median", "verdict"),
    [
        ([1, 10, 3, 7, 2], [2, 20, 6, 14, 4], 2, "ahead"),  # round by round: both slow down together
        ([1] * 5, [0.5, 0.6, 0.7, 0.8, 0.9], 0.7, "behind"),
        ([1] * 5, [0.9, 1.0, 1.0, 1.0, 1.3], 1, "tie"),
        ([1] * 5, [0.9, 0.95, 1.1, 1.2, 1.3], 1.1, "tie"),
        ([1] * 5, [0.5, 1.1, 1.2, 1.3, 1.4], 1.2, "ahead"),  # one disturbed round does not undo the other four
    ],
)
def test_a_spread_that_straddles_one_is_a_tie(
    ours: list[float], theirs: list[float], median: float, verdict: str
) -> None:
    found = ratio(ours, theirs)
    assert (found.median, found.verdict) == (median, verdict)


def test_the_cost_of_a_mean_of_several_ranks() -> None:
    assert parallel.seconds_of_mean(2, 1000, 0, 1000) == 1
    assert parallel.seconds_of_mean(4, 1000, 1, 1000) == 6 + 1.5


def test_the_best_peer_has_the_lowest_median_and_is_not_ours() -> None:
    times: dict[str, Any] = {"xrnn": 100.0, "xrnn-plain": 50.0, "numpy": [300.0, 100.0, 300.0], "torch": 200.0}
    name, found = against_peers(row(**times)) or ("", None)
    assert name == fastest({name: [*row(**times)["microseconds"][name]] for name in ("numpy", "torch")}) == "torch"
    assert found
    assert found.median == 2
    assert against_peers(row(xrnn=1.0)) is against_peers(row(numpy=1.0)) is None


def test_the_table_states_ratio_tie_and_share_and_the_mean_over_the_stated_sizes() -> None:
    unstated = row(Case(50, 4, 64, 64), xrnn=100.0, torch=1e6)
    ahead, tie = row(xrnn=100.0, torch=200.0), row(ONE_ROW, xrnn=100.0, torch=[50.0, 100.0, 200.0])
    text = printed(print_comparison, results(ahead, tie, unstated))
    assert "2.00 (2.00–2.00)" in text
    assert "1.00 (0.75–1.50) tie" in text
    assert f"{gflops(CASE.flops('forward'), 100.0) / 400:.0%}" in text
    assert "over 2 sizes: geometric mean 1.41; 1 ahead, 0 behind, 1 tie" in text


def changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    return printed(lambda result, console: print_changes(result, new, console), old)


def test_changes_beyond_the_noise_are_printed_slower_ones_first() -> None:
    sizes = [CASE, ONE_ROW, Case(9, 1, 8, 8), Case(9, 2, 8, 8)]
    old = [row(case, xrnn=[98.0, 100.0, 102.0]) for case in sizes]
    new = [row(case, xrnn=[t - 2, t, t + 2]) for case, t in zip(sizes, (80, 120, 104), strict=False)]
    text = changes(results(*old), results(*new, row(Case(9, 9, 9, 9), xrnn=1.0)))
    assert re.search(rf"{sizes[1].name}.* 1\.20 *\n.*{CASE.name}.* 0\.80 *\n", text)
    assert sizes[2].name not in text  # 4 %
    assert "3 times of xrnn: 1 slower, 1 faster, the others unchanged" in text


def test_a_slower_machine_is_no_change() -> None:
    old, new = (
        results(row(CASE, "train", xrnn=100 * slower, torch=200 * slower, numpy=300 * slower)) for slower in (1, 1.5)
    )
    text = changes(old, new)
    assert "other libraries: 1.50 (geometric mean of 2 times)" in text
    assert "1 times of xrnn: 0 slower, 0 faster" in text
    new["machine"]["threads"] = 4
    assert "not comparable: threads was 2, is 4" in changes(old, new)
