"""The comparison of the forms on the stand-in as a small GPU, timed by the host: which forms run, and what is kept."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from benchmarks.cases import Case, Problem
from benchmarks.gpu import costs, forms, results
from benchmarks.gpu.costs import Costs, lines
from benchmarks.gpu.forms import Contestant, Lengths
from benchmarks.peers import Call
from xrnn.backends.cupy import CupyBackend

ONE_BLOCK, GROUP = Case(3, 3, 5, 20), Case(3, 2, 3, 260)
LENGTHS = Lengths(checked=3, short=3, long=6)


def test_a_result_that_is_off_takes_only_itself_out(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def stranger(problem: Problem) -> dict[str, Contestant]:
        calls: dict[str, Call] = {name: lambda: [np.zeros(1, "float32")] for name in forms.OPERATIONS}
        return {"torch": Contestant(calls, nullcontext)}

    monkeypatch.setattr(forms, "theirs", stranger)
    for cell in forms.measure(gpu, ONE_BLOCK, 1, LENGTHS):
        assert list(cell["wrong"]) == ["torch"]
        assert set(cell["microseconds"]) == set(cell["errors"]) == {"plain", *cell["candidates"]}
        assert cell["chosen"].startswith("one-block")


def compete(backend: CupyBackend, cases: list[Case], seconds: float, out: Path) -> dict[str, Any]:
    return results.case_by_case(out, "forms", {}, cases, seconds, lambda case: forms.measure(backend, case, 1, LENGTHS))


def test_cases_are_dropped_when_the_time_is_over_and_failures_kept(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "forms.json"
    results.put(out, date="before")
    found = compete(gpu, [ONE_BLOCK, GROUP], -1, out)
    assert found["dropped"] == [ONE_BLOCK.name, GROUP.name]
    monkeypatch.setattr(forms, "check", lambda *arguments: 1 / 0)
    found = compete(gpu, [ONE_BLOCK], 600, out)
    assert found["failed"] == {ONE_BLOCK.name: "ZeroDivisionError: division by zero"}
    assert json.loads(out.read_text()) == {"date": "before", "forms": found}
    monkeypatch.setattr(forms, "check", mock.Mock(side_effect=MemoryError("out of memory allocating 4 bytes")))
    found = compete(gpu, [ONE_BLOCK], 600, out)  # another GPU may have the memory
    assert (found["dropped"], found["failed"]) == ([ONE_BLOCK.name], {})
    assert [path.name for path in tmp_path.iterdir()] == ["forms.json"]


def test_a_cost_for_which_blocks_do_not_meet_ends_and_says_so(
    gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "PATIENCE", 500)
    silent = costs.source().replace("publish(mail + 32 * blockIdx.x, float(i));", ";")
    monkeypatch.setattr(costs, "source", lambda: silent)
    measured = dict(Costs(gpu, times=3, elements=64).measure())
    why = "RuntimeError: its blocks gave up waiting for one another: they don't all run at once"
    assert lines(measured)[0] == f"{'EXCHANGE':26} {why}"
    assert isinstance(measured["ROUND_TRIP"], float)


def test_a_step_is_the_difference_of_two_lengths(gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def microseconds(xp: Any, call: Call) -> tuple[float, float]:
        h = call()
        T = len(h[0] if isinstance(h, tuple) else h)
        return {2: 60.0, 4: 100.0, 8: 130.0}[T], 10.0 * T

    monkeypatch.setattr(forms, "microseconds", microseconds)
    for cell in forms.measure(gpu, Case(8, 3, 5, 20), 2, Lengths(checked=2, short=4, long=8)):
        own = {"plain", *cell["candidates"]}
        assert {name.split()[0] for name in own} == {"plain", "stepwise", "one-block", "group"}
        for name in own - {"plain"}:
            assert cell["step_microseconds"][name] == [30 / 4] * 2
            assert cell["microseconds"][name] == [100.0] * 2
            assert cell["host_microseconds"][name] == {"4": 40.0, "8": 80.0}
        assert cell["step_microseconds"]["plain"] == [70 / 6] * 2
        assert cell["microseconds"]["plain"] == [60 + 2 * 70 / 6] * 2
        assert max(cell["errors"][name] for name in own) < 1e-5
