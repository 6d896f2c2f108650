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
MESSAGE = "XRNN_REQUIRE_GPU=1, but no test"


def run_pytest(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A session in `folder`, with no XRNN_ variable but those in `environment`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XRNN_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *options],
        env=inherited | PLAIN | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project made of the files in docs/how-to/ci.md."""
    text = (ROOT / "docs" / "how-to" / "ci.md").read_text()
    files = re.findall(r"```python\n# (\S+)\n(.*?)```", text, flags=re.DOTALL)
    assert [name for name, _ in files] == ["conftest.py", "test_model.py"]
    for name, content in files:
        (tmp_path / name).write_text(content)
    return tmp_path


def test_the_documented_project_skips_without_a_gpu(project: Path) -> None:
    done = run_pytest(project)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "use_backend('cupy') asked for cupy, but " in done.stdout


def test_the_documented_project_fails_where_a_gpu_is_required(project: Path) -> None:
    done = run_pytest(project, XRNN_REQUIRE_GPU="1")
    assert done.returncode == 1
    assert MESSAGE in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


def test_the_documented_project_passes_on_a_gpu(project: Path) -> None:
    (project / "pretend_gpu.py").write_text(STANDIN_AS_CUPY)
    path = os.pathsep.join([str(ROOT), str(project)])
    done = run_pytest(project, "-p", "pretend_gpu", XRNN_REQUIRE_GPU="1", PYTHONPATH=path)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
