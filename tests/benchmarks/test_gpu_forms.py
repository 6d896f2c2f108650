"""The comparison of the forms on the stand-in as a small GPU, timed by the host: which forms run, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cases import Case, Problem
from benchmarks.gpu import forms
from benchmarks.gpu.costs import UNITS, Costs, lines
from benchmarks.gpu.forms import Contestant, DeviceProblem, compete, host_times, measure
from benchmarks.peers import Call
from tests import standin_backend
from tests.conftest import STANDIN
from xrnn import get_backend
from xrnn.backend import Backend
from xrnn.backends.cupy import CupyBackend, launch

ONE_BLOCK, GROUP = Case(3, 3, 5, 20), Case(3, 2, 3, 260)


@pytest.fixture
def small_gpu() -> Iterator[CupyBackend]:
    with standin_backend.small() as backend:
        yield backend


@pytest.mark.parametrize("backend", [get_backend("numpy"), STANDIN], ids=["numpy", "standin"])
def test_the_reference_of_the_device_is_the_reference(backend: Backend) -> None:
    case = Case(4, 3, 5, 7)
    expected, found = Problem(case).reference, DeviceProblem(case, backend).reference
    assert expected.keys() == found.keys()
    for name, want in expected.items():
        np.testing.assert_allclose(found[name], want, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("case", "form"), [(ONE_BLOCK, "one-block"), (GROUP, "group")])
def test_every_form_is_measured_and_checked(small_gpu: CupyBackend, case: Case, form: str) -> None:
    cells = measure(small_gpu, case, 2, host_times)
    assert [cell["operation"] for cell in cells] == ["forward", "train"]
    for cell in cells:
        names = {name for name in cell["microseconds"] if not name.startswith("torch")}
        assert {name.split()[0] for name in names} >= {"plain", form}
        assert names == set(cell["candidates"])
        assert cell["chosen"] in names
        assert cell["chosen"].startswith(form)
        assert all(len(times) == 2 and min(times) > 0 for times in cell["microseconds"].values())
        assert max(error for name, error in cell["errors"].items() if name in names) < 1e-5
        assert cell["not_used"] == {}
        assert cell["wrong"].keys() <= {"torch", "torch tf32"}
    assert len(cells[0]["longer_microseconds"]) == 2
    assert "longer_microseconds" not in cells[1]


def test_a_form_that_is_not_believed_is_named_not_timed(
    small_gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = launch.source("one-block")
    monkeypatch.setattr(launch, "source", lambda form: source.replace("return tanh(z);", "return z;"))
    (forward, _) = measure(small_gpu, ONE_BLOCK, 1, host_times)
    assert [name for name in forward["microseconds"] if not name.startswith("torch")] == ["plain"]
    assert forward["chosen"] == "plain"
    assert forward["not_used"]["one-block rows=1"].startswith("its h is off by")


def test_a_result_that_is_off_takes_only_itself_out(small_gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def stranger(problem: Problem) -> dict[str, Contestant]:
        calls: dict[str, Call] = {name: lambda: [np.zeros(1, "float32")] for name in forms.OPERATIONS}
        return {"torch": Contestant(calls, nullcontext)}

    monkeypatch.setattr(forms, "theirs", stranger)
    for cell in measure(small_gpu, ONE_BLOCK, 1, host_times):
        assert list(cell["wrong"]) == ["torch"]
        assert set(cell["microseconds"]) == set(cell["errors"]) == set(cell["candidates"])
        assert cell["chosen"].startswith("one-block")


def test_a_form_of_ours_that_is_off_is_a_failure(
    small_gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checked = set()

    def only_the_first(operation: str, *arguments: Any) -> float:
        if operation in checked:
            raise AssertionError("it is off")
        checked.add(operation)
        return 0.0

    monkeypatch.setattr(forms, "check", only_the_first)
    results = compete(small_gpu, [ONE_BLOCK], 600, 1, tmp_path / "forms.json", host_times)
    assert "one-block rows=1: AssertionError: it is off" in results["failed"][ONE_BLOCK.name]
    for cell in results["cells"]:
        assert (cell["chosen"], list(cell["microseconds"])) == ("plain", ["plain"])


def test_cases_are_dropped_when_the_time_is_over_and_failures_kept(
    small_gpu: CupyBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "forms.json"
    results = compete(small_gpu, [ONE_BLOCK, GROUP], -1, 1, out, host_times)
    assert results["dropped"] == [ONE_BLOCK.name, GROUP.name]
    monkeypatch.setattr(forms, "check", lambda *arguments: 1 / 0)
    results = compete(small_gpu, [ONE_BLOCK], 600, 1, out, host_times)
    assert results["failed"] == {ONE_BLOCK.name: "ZeroDivisionError: division by zero"}
    assert json.loads(out.read_text()) == results
    assert [path.name for path in tmp_path.iterdir()] == ["forms.json"]


def test_the_costs_are_measured_and_printed_beside_the_estimates(small_gpu: CupyBackend) -> None:
    # On the emulator the figures mean nothing; that every kernel ends and is launched rightly does.
    costs = Costs(small_gpu, times=3, elements=64)
    measured = {
        "EXCHANGE": costs.exchange_seconds(),
        "ROUND_TRIP": costs.round_trip_seconds(),
        "PLAIN_STEP": costs.plain_step_seconds(),
        "LAUNCH": costs.launch_seconds(),
        "L2_BYTES_PER_CYCLE": costs.l2_bytes_per_cycle(),
        "PRODUCT_EFFICIENCY": costs.product_efficiency(),
    }
    assert measured.keys() == UNITS.keys()
    assert np.isfinite(costs.grid_barrier_seconds())
    text = lines({"EXCHANGE": 5e-7, "grid barrier, µs": 1.5})
    assert text[0].split() == ["EXCHANGE", "0.5", "µs", "estimate", "0.7"]
    assert text[1].split()[-1] == "1.5"
