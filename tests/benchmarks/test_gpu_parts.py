"""The parts of `make gpu-check`: their order and time, what is stopped, and what a run says about them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.part import Log, Part
from tests.conftest import NO_GPU


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "log")
    yield log
    log.close()


def test_the_order_is_by_value_and_the_measurements_fit_into_the_default_time() -> None:
    every = gpu.parts(Path("out"))
    sanitizers = ["memcheck", "racecheck", "synccheck"]
    measuring = ["device", "compile", "residency", "variants", "costs", "forms"]
    assert [p.name for p in every] == [*measuring, *sanitizers, "tests"]
    assert sum(p.at_most for p in every[:6]) + every[6].at_least <= 60 * gpu.MINUTES
    assert all(p.at_least <= p.at_most for p in every)


@pytest.mark.parametrize(
    ("code", "seconds", "outcome", "state"),
    [
        ("", 60, "passed", "agrees"),
        ("raise SystemExit(1)", 60, "failed with exit status 1", "disagrees"),
        ("raise SystemExit(2)", 60, "not all of it: the log says why", "incomplete"),
        ("import os; os.abort()", 60, "failed with exit status -6", "disagrees"),
        ("raise SystemExit({seconds})", 42, "failed with exit status 42", "disagrees"),
        ("import time; time.sleep(1000)", 0.2, "stopped after 0 s, its limit", "incomplete"),
    ],
)
def test_what_came_of_a_part(log: Log, code: str, seconds: float, outcome: str, state: str) -> None:
    found = gpu.perform(Part("it", (sys.executable, "-c", code), 10, 60), seconds, log, {})
    assert (found["outcome"], found["state"]) == (outcome, state)


def test_a_part_without_its_module_is_left_out(log: Log) -> None:
    found = gpu.perform(Part("it", (sys.executable,), 10, 60, ("os", "no_such_module")), 9, log, {})
    assert found == {"outcome": "left out: not installed: no_such_module", "state": "incomplete"}
    assert {part.name for part in gpu.parts(Path("out")) if "pytest" in part.needs} == {"residency", "tests"}


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path)]) == 2
    printed = capfd.readouterr().out.splitlines()
    assert any("the argument backend='cupy' asked for cupy, but" in line for line in printed)
    assert printed[-2].startswith("no GPU was measured: expected one that CuPy can use")
    assert printed[-1] == "incomplete"
    assert not any(line.startswith("== residency") for line in printed)
