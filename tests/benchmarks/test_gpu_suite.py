"""The GPU check's way to the given Python, and to the C++ kernels beside it: nothing is fetched, nothing is changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu import suite


def test_the_script_runs_the_given_python_itself(tmp_path: Path) -> None:
    # CuPy looks for CUDA's libraries in site.getsitepackages(), which an environment would replace.
    python = tmp_path / "python"
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$PYTHONPATH" "$PYTHONSAFEPATH" "$PWD" "$*" >>"$OUT"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "OUT": str(tmp_path / "calls"), "PYTHONPATH": "/of/its/own"}
    script = suite.ROOT / ".ci" / "gpu-check"
    subprocess.run([script, "--minutes", "3", "--out", "x"], env=environment, cwd=tmp_path, check=True)
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{suite.ROOT}:/of/its/own",
        "1",
        str(tmp_path),
        "-m benchmarks.gpu --minutes 3 --out x",
    ]


def test_the_copy_leaves_behind_what_is_no_source(tmp_path: Path) -> None:
    sources = suite.copy_sources(tmp_path)
    assert (sources / "xrnn" / "backends").is_symlink()
    assert (sources / "xrnn" / "backends" / "cupy" / "tile.cu").is_file()
    assert (sources / "CMakeLists.txt").is_file()
    assert not [path for name in (".git", ".venv", "build") if (path := sources / name).exists()]
    assert not [*sources.rglob("*.so"), *sources.rglob("__pycache__")]


def test_without_a_compiler_there_are_no_kernels_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert suite.build_kernels(tmp_path, tmp_path) == "no C++ kernels: none of c++, g++, clang++ is here"


def test_a_build_that_fails_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    said = suite.build_kernels(tmp_path / "nothing", tmp_path)
    assert said.startswith("no C++ kernels: ERROR: Directory")
