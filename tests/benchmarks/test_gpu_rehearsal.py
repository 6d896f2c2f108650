"""`make gpu-check` from its script to its report, on the stand-in for CuPy in every process; also killed in the middle.

Compiling for the emulator aside, it takes some tens of seconds: the whole run is in one test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import report
from benchmarks.gpu.__main__ import ROOT
from tests.cuda_emulator import MISSING

pytestmark = [pytest.mark.proof, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

# In place of the sanitizer, which only a CUDA toolkit brings: what it was asked for, then the command itself.
SANITIZER = """#!/usr/bin/env bash
echo "sanitizer: $*"
while [[ $1 != */python* ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy in which nothing may appear."""
    left_behind = shutil.ignore_patterns(".*venv*", ".git", "build", "dist", "__pycache__", ".*_cache")
    return Path(shutil.copytree(ROOT, tmp_path / "sources", symlinks=True, ignore=left_behind))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "compute-sanitizer").write_text(SANITIZER)
    (tools / "compute-sanitizer").chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XRNN_", "PYTEST_"))}
    return {**inherited, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHON": sys.executable}


def start(
    sources: Path, folder: Path, environment: dict[str, str], *options: str, gpu: str = "h100"
) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [str(sources / ".ci" / "gpu-check"), "--rehearse", gpu, "--out", "results", *options]
    with (folder / "printed").open("w") as printed:
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=printed, stderr=printed, text=True)


def result(folder: Path) -> tuple[Path, dict[str, Any]]:
    (path,) = (folder / "results").glob("*-gpu.json")
    return path, json.loads(path.read_text())


def files(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.stat().st_mtime_ns


def test_the_whole_run(sources: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    before = list(files(sources))
    run = start(sources, tmp_path / "run", environment, "--minutes", "30", gpu="t4")
    assert run.wait() == 0, (tmp_path / "run" / "printed").read_text()
    path, found = result(tmp_path / "run")
    assert {part["outcome"] for part in found["parts"].values()} == {"passed"}
    assert found["complete"]
    assert found["rehearsal"]
    assert found["device"]["device 0"].startswith("NVIDIA T4, compute capability 7.5")
    for name in ("variants", "memcheck", "racecheck", "synccheck"):
        assert len(found[name]) == 4
        assert set(found[name].values()) == {None}
    cells = found["forms"]["cells"]
    assert [cell["operation"] for cell in cells] == ["forward", "train"] * 3
    for cell in cells:
        forms = {"scan"} if cell["cell"] == "min-gru" else {"one-block", "group"}
        assert {name.split()[0] for name in cell["step_microseconds"]} >= {"plain", *forms}
        assert cell["host_microseconds"].keys() == cell["step_microseconds"].keys() == {"plain", *cell["candidates"]}
        assert cell["not_used"] == cell["wrong"] == {}
        assert max(cell["errors"].values()) < 1e-5
    assert "EXCHANGE" in found["costs"]
    log = path.with_suffix(".log").read_text()
    assert f"== device (200 s at most): {sys.executable} -m benchmarks.gpu.device" in log  # that Python, no environment
    assert "sanitizer: --tool racecheck" in log
    assert "7 passed" in log  # the residency of all blocks, also of two groups, and a hang that ends
    assert log == (tmp_path / "run" / "printed").read_text()
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".json", ".log", ".md"]
    assert list(files(sources)) == before
    assert "µs a step" in "\n".join(report.lines(found))


@pytest.mark.parametrize(("number", "gpu"), [(signal.SIGKILL, "a100"), (signal.SIGTERM, "b200")])
def test_a_run_that_is_ended_in_the_middle_keeps_what_it_has(
    sources: Path, tmp_path: Path, environment: dict[str, str], number: signal.Signals, gpu: str
) -> None:
    run = start(sources, tmp_path / "run", environment, "--only", "costs,forms", gpu=gpu)
    while True:  # the file is whole whenever it is read
        found = result(tmp_path / "run")[1] if [*(tmp_path / "run").glob("results/*.json")] else {}
        if "EXCHANGE" in found.get("costs", {}):
            break
        assert run.poll() is None, (tmp_path / "run" / "printed").read_text()
        time.sleep(0.01)
    run.send_signal(number)
    status = run.wait()
    path, found = result(tmp_path / "run")
    assert {name: part["outcome"] for name, part in found["parts"].items()} == {
        "device": "passed",
        "costs": "begun, and ended with the run",
    }
    assert not found["complete"]
    assert "EXCHANGE" in found["costs"]
    assert report.lines(found)
    log = path.with_suffix(".log").read_text()
    assert "== device: passed" in log
    if number == signal.SIGTERM:
        assert status == 128 + signal.SIGTERM
        assert "costs        begun, and ended with the run" in log  # with a report all the same
    time.sleep(0.5)
    assert result(tmp_path / "run")[1] == found  # the part has ended with the run
