"""`make` alone prints its targets, and compiling is announced."""

from __future__ import annotations

import re
import shutil
import subprocess
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
    assert "compiling the C++ kernels: one to three minutes" in make("--dry-run", "test", f"VENV={tmp_path}")


def test_mutants_runs_the_given_tests_on_the_given_module(tmp_path: Path) -> None:
    printed = make("--dry-run", "mutants", f"VENV={tmp_path}", "MODULE=xrnn/optim.py", "TESTS=tests/test_optim.py")
    assert "s|xrnn/losses.py|xrnn/optim.py|; s|tests/test_losses.py|tests/test_optim.py|" in printed
    configuration = (ROOT / ".ci" / "mutants.toml").read_text(encoding="utf-8")
    assert configuration.count("xrnn/losses.py") == 1
    assert configuration.count("tests/test_losses.py") == 1
