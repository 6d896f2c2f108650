"""`make gpu-check` from its script to its report, on the stand-in for CuPy in every process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def modified(folder: Path) -> list[tuple[str, int]]:
    return [(str(path), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_the_whole_run(tmp_path: Path) -> None:
    """It runs from a copy of the sources, in which no file may appear."""
    sources, tools, run = (tmp_path / name for name in ("sources", "tools", "run"))
    left_behind = shutil.ignore_patterns(".*venv*", ".git", "build", "dist", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, sources, symlinks=True, ignore=left_behind)
    before = modified(sources)
    tools.mkdir()
    (tools / "compute-sanitizer").write_text(SANITIZER)
    (tools / "compute-sanitizer").chmod(0o755)
    run.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XRNN_", "PYTEST_"))}
    environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHON": sys.executable}
    done = subprocess.run(
        [sources / ".ci" / "gpu-check", "--rehearse", "t4", "--out", "results", "--minutes", "30"],
        env=inherited | environment,
        cwd=run,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = done.stdout
    assert done.returncode == 0, printed
    (path,) = (run / "results").glob("*-gpu.json")
    found = json.loads(path.read_text())
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
    assert log == printed
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".json", ".log", ".md"]
    assert modified(sources) == before
    assert "µs a step" in "\n".join(report.lines(found))
