"""Tables and pictures of small made-up results."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.console import Console

from benchmarks.cases import Case
from benchmarks.report import against_peers, print_changes, print_comparison


def row(case: Case, operation: str, **microseconds: list[float]) -> dict[str, Any]:
    return {
        "case": case.name,
        "T": case.T,
        "N": case.N,
        "D": case.D,
        "H": case.H,
        "operation": operation,
        "flops": case.flops(operation),
        "microseconds": microseconds,
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


CASE = Case(50, 16, 64, 64)


def test_the_best_peer_is_the_fastest_that_is_not_ours() -> None:
    times = {"xrnn": [100.0] * 3, "xrnn-plain": [50.0] * 3, "numpy": [300.0] * 3, "torch": [200.0] * 3}
    name, ratio = against_peers(row(CASE, "forward", **times)) or ("", None)
    assert name == "torch"
    assert ratio
    assert ratio.median == 2
    assert against_peers(row(CASE, "forward", xrnn=[1.0])) is None
    assert against_peers(row(CASE, "forward", numpy=[1.0])) is None


def test_the_table_states_ratio_tie_and_share_and_the_mean_over_the_stated_sizes() -> None:
    ahead = row(CASE, "forward", xrnn=[100.0] * 3, torch=[200.0] * 3)
    tie = row(Case(50, 1, 64, 64), "forward", xrnn=[100.0] * 3, torch=[50.0, 100.0, 200.0])
    unstated = row(Case(50, 4, 64, 64), "forward", xrnn=[100.0] * 3, torch=[1e6] * 3)
    text = printed(print_comparison, results(ahead, tie, unstated))
    assert "2.00 (2.00–2.00)" in text
    assert "1.00 (0.75–1.50) tie" in text
    assert f"{CASE.flops('forward') / 100 * 1e-3 / 400:.0%}" in text
    assert "over 2 sizes: geometric mean 1.41; 1 ahead, 0 behind, 1 tie" in text


def changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    return printed(lambda result, console: print_changes(result, new, console), old)


def test_changes_beyond_the_noise_are_printed_slower_ones_first() -> None:
    sizes = [CASE, Case(50, 1, 64, 64), Case(9, 1, 8, 8), Case(9, 2, 8, 8)]
    old = [row(case, "forward", xrnn=[98.0, 100.0, 102.0]) for case in sizes]
    new = [
        row(case, "forward", xrnn=[time - 2, time, time + 2]) for case, time in zip(sizes, (80, 120, 104), strict=False)
    ]
    text = changes(results(*old), results(*new, row(Case(9, 9, 9, 9), "forward", xrnn=[1.0])))
    assert re.search(rf"{sizes[1].name}.* 1\.20 *\n.*{CASE.name}.* 0\.80 *\n", text)
    assert sizes[2].name not in text  # 4 %
    assert "3 times of xrnn: 1 slower, 1 faster, the others unchanged" in text


def test_a_slower_machine_is_no_change() -> None:
    old = results(row(CASE, "train", xrnn=[100.0] * 3, torch=[200.0] * 3, numpy=[300.0] * 3))
    new = results(row(CASE, "train", xrnn=[150.0] * 3, torch=[300.0] * 3, numpy=[450.0] * 3))
    text = changes(old, new)
    assert "other libraries: 1.50 (geometric mean of 2 times)" in text
    assert "1 times of xrnn: 0 slower, 0 faster" in text
    new["machine"]["threads"] = 4
    assert "not comparable: threads was 2, is 4" in changes(old, new)
