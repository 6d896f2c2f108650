"""`make` alone prints its targets, compiling is announced, and the sources may be read-only."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(*arguments: str) -> str:
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_make_alone_prints_every_target() -> None:
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
    assert re.findall(r"^make ([a-z-]+) ", make(), re.MULTILINE) == [name for name in targets if name != "help"]


def test_the_first_target_says_that_it_compiles(tmp_path: Path) -> None:
    assert "compiling the C++ kernels: about a minute" in make("--dry-run", "test", f"VENV={tmp_path}")


def test_the_level_for_tests_stays_once_it_is_built(tmp_path: Path) -> None:
    """Otherwise make train after make test would remove it, and the next make test would not build it again."""
    level = r"cmake.define.\w+_FOR_TESTS=(\w+)"
    assert re.findall(level, make("--dry-run", "train", f"VENV={tmp_path}")) == ["OFF"]
    assert re.findall(level, make("--dry-run", "test", f"VENV={tmp_path}")) == ["ON"]
    (tmp_path / "for-tests").touch()
    assert re.findall(level, make("--dry-run", "train", f"VENV={tmp_path}")) == ["ON"]


def test_mutants_runs_the_given_tests_on_the_given_module(tmp_path: Path) -> None:
    printed = make("--dry-run", "mutants", f"VENV={tmp_path}", "MODULE=xrnn/optim.py", "TESTS=tests/test_optim.py")
    assert "s|xrnn/losses.py|xrnn/optim.py|; s|tests/test_losses.py|tests/test_optim.py|" in printed
    configuration = (ROOT / ".ci" / "mutants.toml").read_text(encoding="utf-8")
    assert configuration.count("xrnn/losses.py") == 1
    assert configuration.count("tests/test_losses.py") == 1


def test_read_only_sources_can_be_tested(tmp_path: Path) -> None:
    """pytest cannot write its cache there. This must be a warning, not an error."""
    (tmp_path / "test_one.py").write_text("def test_one(): pass")
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    options = ["-o", f"cache_dir={tmp_path / 'file' / 'cache'}", "--strict-config", str(tmp_path / "test_one.py")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path)
    assert "PytestCacheWarning" in done.stdout
    assert done.returncode == 0, done.stdout
