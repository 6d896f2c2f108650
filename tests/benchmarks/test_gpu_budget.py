"""The time of `make gpu-check`: what is dropped, what is stopped, and what a run then says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.budget import Budget, Part, run
from tests.conftest import NO_GPU


def part(name: str, at_least: float, at_most: float, code: str = "") -> Part:
    return Part(name, (sys.executable, "-c", code), at_least, at_most)


def test_a_part_leaves_the_later_ones_enough_to_begin() -> None:
    now = 0.0
    budget = Budget(100, clock=lambda: now)
    first, second, third = part("a", 10, 80), part("b", 30, 50), part("c", 20, 20)
    assert budget.grant(first, [second, third]) == 50  # not its 80
    assert budget.grant(part("short", 1, 5), [second, third]) == 5
    now = 45.0
    assert budget.grant(second, [third]) == 35
    now = 60.0
    assert budget.grant(second, [third]) == 30  # what it needs; the third will be dropped
    assert budget.grant(third, []) == 20
    now = 75.0
    assert budget.grant(second, [third]) == 0
    now = 101.0
    assert budget.grant(third, []) == 0


def test_a_command_that_does_not_end_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n"
        "time.sleep(1000)\n"
    )
    status, took = run([sys.executable, "-c", code], 3, dict(os.environ))
    assert status is None
    assert took >= 3
    child = int(pid_file.read_text())
    for _ in range(1000):  # dying takes a moment
        if not alive(child):
            return
        time.sleep(0.01)
    pytest.fail("the process that the stopped one started goes on")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("code", "seconds", "outcome", "failed"),
    [
        ("", 60, "passed", False),
        ("raise SystemExit(7)", 60, "failed with exit status 7", True),
        ("import time; time.sleep(1000)", 0.2, "stopped after 0 s, its limit", True),
        ("", 0, "dropped: less than 30 s were left", True),
    ],
)
def test_what_came_of_a_part(code: str, seconds: float, outcome: str, failed: bool) -> None:
    found = gpu.perform(part("it", 30, 60, code), seconds)
    assert (found["outcome"], found["failed"], found["ran"]) == (outcome, failed, seconds > 0)


def test_a_tool_that_is_not_there_is_named() -> None:
    found = gpu.perform(Part("memcheck", ("no-such-sanitizer", "x"), 1, 2), 2)
    assert found["outcome"] == "not run: no-such-sanitizer is not here; it comes with the CUDA toolkit"
    assert (found["ran"], found["failed"]) == (False, True)


def test_the_seconds_reach_the_command() -> None:
    found = gpu.perform(Part("it", (sys.executable, "-c", "raise SystemExit({seconds})"), 1, 60), 42)
    assert found["outcome"] == "failed with exit status 42"


def test_the_parts_end_within_nine_minutes() -> None:
    found = gpu.parts(Path("folder"))
    assert [p.name for p in found[:2]] == ["device", "residency"]
    assert {"tests", "costs", "forms", "memcheck", "racecheck", "synccheck"} == {p.name for p in found[2:]}
    now = 0.0
    budget = Budget(8.5 * 60, clock=lambda: now)
    left = list(found)
    while left:  # each takes all that it is given
        granted = budget.grant(first := left.pop(0), left)
        assert granted >= first.at_least
        now += granted
    assert now <= 8.5 * 60


def test_tests_that_need_what_is_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "hypothesis" else name)
    assert "--ignore=tests/ops/test_recurrence.py" in gpu.ignored()
    assert not any("test_optim" in option or "tests/cuda" in option for option in gpu.ignored())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert gpu.ignored() == []


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--only", "costs,dreams"])
    assert "--only got dreams: expected some of device, residency, tests" in capsys.readouterr().err


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path)]) == 1
    printed = capfd.readouterr()
    assert "the argument backend='cupy' asked for cupy, but" in printed.err
    assert printed.out.splitlines()[-1].startswith("no GPU was measured: expected one that CuPy can use")
    assert list(tmp_path.iterdir()) == []
