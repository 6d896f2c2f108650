"""The time of `make gpu-check`: what is planned, what is left out, what is stopped, and what a run then says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.budget import Budget, Log, Part, plan, run
from tests.conftest import NO_GPU


def part(name: str, at_least: float, expected: float, at_most: float, code: str = "") -> Part:
    return Part(name, (sys.executable, "-c", code), at_least, expected, at_most)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "log")
    yield log
    log.close()


def test_a_plan_takes_the_more_valuable_first_and_what_still_fits() -> None:
    every = [part("a", 1, 10, 20), part("b", 1, 50, 60), part("c", 1, 45, 60), part("d", 1, 5, 60)]
    planned, left_out = plan(every, 65)
    assert [p.name for p in planned] == ["a", "b", "d"]
    assert [p.name for p in left_out] == ["c"]
    assert plan(every, 110) == (every, [])


def test_a_part_leaves_those_after_it_what_they_are_expected_to_need() -> None:
    now = 0.0
    budget = Budget(100, clock=lambda: now)
    first, second, third = part("a", 5, 10, 80), part("b", 10, 30, 50), part("c", 10, 20, 20)
    assert budget.grant(first, [second, third]) == 50  # not its 80
    assert budget.grant(part("short", 1, 1, 5), [second, third]) == 5
    now = 45.0
    assert budget.grant(second, [third]) == 35
    now = 60.0
    assert budget.grant(second, [third]) == 30  # what it is expected to need; the third will have less
    assert budget.grant(third, []) == 20
    now = 85.0
    assert budget.grant(second, [third]) == 15  # all there is
    now = 91.0
    assert budget.grant(second, [third]) == 0
    now = 101.0
    assert budget.grant(part("c", 0, 0, 9), []) == 0


def test_the_order_is_by_value() -> None:
    names = [p.name for p in gpu.parts(Path("out"))]
    sanitizers = ["memcheck", "racecheck", "synccheck"]
    assert names == ["device", "residency", "variants", "steps", "costs", "forms", *sanitizers, "tests"]


def test_what_nine_minutes_are_enough_for() -> None:
    every = gpu.parts(Path("out"))
    planned, left_out = plan(every, 60 * gpu.MINUTES)
    assert [p.name for p in planned] == [p.name for p in every[:7]]  # to the first sanitizer
    assert [p.name for p in left_out] == ["racecheck", "synccheck", "tests"]
    now = 0.0
    budget = Budget(60 * gpu.MINUTES, clock=lambda: now)
    for number, each in enumerate(planned):  # each takes all that it is given
        granted = budget.grant(each, planned[number + 1 :])
        assert granted >= each.expected
        now += granted
    assert now <= 60 * gpu.MINUTES
    assert all(p.at_least <= p.expected <= p.at_most for p in every)


def test_the_sanitizers_see_our_kernels_and_fewer_variants_each_time() -> None:
    few = []
    for each in gpu.parts(Path("out"))[6:9]:
        command = " ".join(each.command)
        assert f"--tool {each.name} --error-exitcode 9" in command
        assert "--kernel-name kns=one_block --kernel-name kns=group" in command
        assert each.at_most == 150
        few.append(int(command.partition("--few ")[2] or 1000))
    assert few == [1000, 24, 12]


def test_warnings_are_no_errors_there_and_plugins_are_off() -> None:
    residency = gpu.parts(Path("out"))[1]
    assert "-o filterwarnings=default" in " ".join(residency.command)
    assert gpu._ENVIRONMENT["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] == "1"
    assert gpu._ENVIRONMENT["PYTHONDONTWRITEBYTECODE"] == "1"


FORKS = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
pathlib.Path({file!r}).write_text(str(child.pid))
{rest}
"""


@pytest.mark.parametrize(
    ("rest", "expected"), [("time.sleep(1000)", None), ("", 0)], ids=["that goes on", "that ended"]
)
def test_a_command_is_stopped_with_what_it_started(tmp_path: Path, log: Log, rest: str, expected: int | None) -> None:
    file = tmp_path / "pid"
    status, took = run(
        [sys.executable, "-c", FORKS.format(file=str(file), rest=rest)], 3, dict(os.environ), tmp_path, log
    )
    assert status == expected
    assert took >= 3 or expected == 0
    wait_for_end(int(file.read_text()))


def test_a_part_dies_with_the_run(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(file)!r}).write_text(str(os.getpid())); time.sleep(1000)"
    run_it = (
        "import os, pathlib, sys\nfrom benchmarks.gpu.budget import Log, run\n"
        f"run([sys.executable, '-c', {code!r}], 1000, dict(os.environ), pathlib.Path('.'), Log(pathlib.Path('log')))"
    )
    pid = os.spawnve(
        os.P_NOWAIT,
        sys.executable,
        [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{run_it}"],
        {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    while not (file.exists() and file.read_text()):
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for_end(int(file.read_text()))


def wait_for_end(pid: int) -> None:
    for _ in range(3000):  # dying takes a moment
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    pytest.fail("a process that the stopped one started goes on")


def test_what_a_part_prints_is_in_the_log(tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import os, sys; print('out', os.getcwd()); print('err', file=sys.stderr)"
    run([sys.executable, "-c", code], 60, dict(os.environ), tmp_path, log)
    log.say("done")
    printed = f"out {tmp_path}\nerr\ndone\n"
    assert sorted((tmp_path / "log").read_text().splitlines()) == sorted(printed.splitlines())
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(printed.splitlines())


@pytest.mark.parametrize(
    ("code", "seconds", "outcome", "failed"),
    [
        ("", 60, "passed", False),
        ("raise SystemExit(7)", 60, "failed with exit status 7", True),
        ("import time; time.sleep(1000)", 0.2, "stopped after 0 s, its limit", True),
    ],
)
def test_what_came_of_a_part(log: Log, code: str, seconds: float, outcome: str, failed: bool) -> None:
    found = gpu.perform(part("it", 10, 30, 60, code), seconds, log, {})
    assert (found["outcome"], found["failed"], found["ran"]) == (outcome, failed, True)


def test_a_tool_that_is_not_there_is_named(log: Log) -> None:
    found = gpu.perform(Part("memcheck", ("no-such-sanitizer", "x"), 1, 2, 2), 2, log, {})
    assert found["outcome"] == "not run: no-such-sanitizer is not here; it comes with the CUDA toolkit"
    assert (found["ran"], found["failed"]) == (False, True)


@pytest.mark.parametrize("known_by", ["PATH", "CUDA_HOME", "CUDA_PATH", "its place"])
def test_a_sanitizer_is_found_beside_the_toolkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_by: str
) -> None:
    for variable in ("PATH", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(gpu, "_TOOLKITS", str(tmp_path / "nothing*"))
    assert gpu._cuda_program("compute-sanitizer") == "compute-sanitizer"
    program = tmp_path / "cuda-13" / "bin" / "compute-sanitizer"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    if known_by == "its place":
        monkeypatch.setattr(gpu, "_TOOLKITS", str(tmp_path / "cuda*"))
    else:
        monkeypatch.setenv(known_by, str(program.parent if known_by == "PATH" else program.parents[1]))
    (memcheck,) = [part for part in gpu.parts(tmp_path) if part.name == "memcheck"]
    assert memcheck.command[0] == str(program)


def test_the_seconds_reach_the_command(log: Log) -> None:
    found = gpu.perform(Part("it", (sys.executable, "-c", "raise SystemExit({seconds})"), 1, 1, 60), 42, log, {})
    assert found["outcome"] == "failed with exit status 42"


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--only", "costs,dreams"])
    assert "--only got dreams: expected some of device, residency, variants" in capsys.readouterr().err


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path)]) == 1
    printed = capfd.readouterr().out.splitlines()
    assert any("the argument backend='cupy' asked for cupy, but" in line for line in printed)
    assert printed[-1].startswith("no GPU was measured: expected one that CuPy can use")
    assert not any(line.startswith("== residency") for line in printed)
