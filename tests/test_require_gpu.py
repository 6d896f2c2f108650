"""XRNN_REQUIRE_GPU=1: a session that passed no test on a GPU fails; so does the code of docs/how-to/ci.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fresh import STANDIN_AS_CUPY

ROOT = Path(__file__).parents[1]
# Pytest's own plugins only, the checkout's modules at hand, and no GPU in sight.
PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    ("required", "gpu", "failed", "words"),
    [
        ("1", False, 1, ["1 passed, 1 skipped", "('cupy') asked for cupy, but ", "XRNN_REQUIRE_GPU=1, but no test"]),
        ("1", True, 0, ["2 passed"]),
    ],
)
def test_the_documented_project(tmp_path: Path, required: str, gpu: bool, failed: int, words: list[str]) -> None:
    text = (ROOT / "docs" / "how-to" / "ci.md").read_text()
    for name, content in re.findall(r"```python\n# (\S+)\n(.*?)```", text, flags=re.DOTALL):
        (tmp_path / name).write_text(content)
    if gpu:
        path = tmp_path / "conftest.py"
        path.write_text(STANDIN_AS_CUPY + path.read_text())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XRNN_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider"],
        env=inherited | PLAIN | {"XRNN_REQUIRE_GPU": required},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == failed, done.stdout
    for each in words:
        assert each in done.stdout
