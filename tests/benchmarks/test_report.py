"""Tables and pictures from small made-up results, those of a GPU among them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.cases import Case
from benchmarks.report import against_peers, device_series, draw_comparison, print_comparison, print_own


def cell(case: Case, operation: str, **microseconds: list[float]) -> dict[str, Any]:
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


def results(*cells: dict[str, Any]) -> dict[str, Any]:
    machine = {"cpu": "some CPU", "threads": 2, "date": "2026-01-01T00:00+00:00"}
    return {"machine": machine, "dtype": "float32", "rounds": 3, "cells": list(cells)}


def printed(printer: Any, result: dict[str, Any]) -> str:
    file = io.StringIO()
    printer(result, Console(file=file, width=200))
    return file.getvalue()


CELL = Case(50, 16, 64, 64)


def test_the_best_peer_is_the_fastest_that_is_not_ours() -> None:
    times = {"xrnn": [100.0] * 3, "xrnn-plain": [50.0] * 3, "numpy": [300.0] * 3, "torch": [200.0] * 3}
    name, ratio = against_peers(cell(CELL, "forward", **times)) or ("", None)
    assert name == "torch"
    assert ratio
    assert ratio.median == 2
    assert against_peers(cell(CELL, "forward", xrnn=[1.0])) is None
    assert against_peers(cell(CELL, "forward", numpy=[1.0])) is None


def test_the_table_states_ratio_tie_and_share_and_the_mean_over_the_stated_cells() -> None:
    ahead = cell(CELL, "forward", xrnn=[100.0] * 3, torch=[200.0] * 3)
    tie = cell(Case(50, 1, 64, 64), "forward", xrnn=[100.0] * 3, torch=[50.0, 100.0, 200.0])
    unstated = cell(Case(50, 4, 64, 64), "forward", xrnn=[100.0] * 3, torch=[1e6] * 3)
    text = printed(print_comparison, results(ahead, tie, unstated))
    assert "2.00 (2.00–2.00)" in text
    assert "1.00 (0.75–1.50) tie" in text
    assert f"{CELL.flops('forward') / 100 * 1e-3 / 400:.0%}" in text
    assert "over 2 cells: geometric mean 1.41; 1 ahead, 0 behind, 1 tie" in text


def test_a_ragged_batch_and_a_leak_stand_beside_what_they_cost_more_or_less_than() -> None:
    ragged, leaky = Case(50, 16, 256, 256, ragged=True), Case(50, 16, 256, 256, cell="leak")
    cells = [
        {**cell(case, "forward", xrnn=[100.0] * 3), "cell": case.cell, "ragged": case.ragged}
        | {"base_microseconds": {"xrnn": [base] * 3}}
        for case, base in ((ragged, 160.0), (leaky, 80.0))
    ]
    text = printed(print_comparison, results(*cells))
    assert "RNN, different lengths, forward" in text
    assert "leaky RNN, forward" in text
    assert re.search(r"of full batch.*\n.*\n.*0\.62 \(0\.62–0\.62\)", text)
    assert re.search(r"of Elman.*\n.*\n.*1\.25 \(1\.25–1\.25\)", text)


def own(backend: str, operation: str, form: str, **extra: float) -> dict[str, Any]:
    info = {"backend": backend, "case": CELL.name, "operation": operation, "form": form, **extra}
    params = {"form": "plain" if form == "plain" else "fused"}
    return {"extra_info": info, "params": params, "stats": {"median": 1e-4}}


def test_xrnns_own_timings_tell_the_devices_time_from_the_hosts() -> None:
    timings = {
        "benchmarks": [
            own("numpy", "forward", "fused"),
            own("cupy", "forward", "group", event_us=77.0, host_us=33.0),
            own("cupy", "train", "group/one-block", event_us=88.0, host_us=44.0),
        ]
    }
    text = printed(print_own, timings)
    assert "50, 16, 64, 64" in text
    assert "77.0 / 88.0" in text
    assert "33.0 / 44.0" in text
    assert device_series(timings) == {
        "xrnn cupy fused": {(CELL.name, "forward"): 77.0, (CELL.name, "train"): 88.0},
    }
    assert device_series(None) == {}


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("device", [None, {"xrnn cupy fused": {(CELL.name, "train"): 88.0}}])
def test_pictures_are_drawn_where_a_series_was_measured(tmp_path: Path, device: Any) -> None:
    measured = results(
        cell(CELL, "forward", xrnn=[100.0] * 3, torch=[200.0] * 3),
        cell(CELL, "train", xrnn=[100.0] * 3),
        *(cell(replace(CELL, cell="lstm"), operation, xrnn=[100.0] * 3) for operation in ("forward", "train")),
        cell(replace(CELL, cell="leak"), "forward", xrnn=[100.0] * 3),  # which has no series
    )
    paths = draw_comparison(measured, tmp_path, device)
    assert [path.name for path in paths] == ["gflops.png", "sequences.png", "gflops-lstm.png", "sequences-lstm.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_no_picture_without_a_series(tmp_path: Path) -> None:
    assert draw_comparison(results(cell(Case(35, 3, 40, 100), "forward", xrnn=[1.0] * 3)), tmp_path) == []
