"""Python in a process of its own: for what is decided once a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# A finder in front of all others, which says that there is no such library.
_WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{library}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
"""
NO_CUPY, NO_TORCH = (_WITHOUT.format(library=library) for library in ("cupy", "torch"))

# The stand-in in the place of real CuPy: a second backend that works without a GPU.
STANDIN_AS_CUPY = """
import sys
import xrnn.select
from tests import standin_backend
sys.modules["fake_cupy_backend"] = type(sys)("fake_cupy_backend")
sys.modules["fake_cupy_backend"].load = standin_backend.make
xrnn.select._MODULES["cupy"] = "fake_cupy_backend"
"""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with warnings as errors, and no XRNN_ variable but those in `environment`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("XRNN_", "CUDA_VISIBLE"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=inherited | environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )


def output_of(code: str, **environment: str) -> str:
    """What `code` prints, which must run without an error."""
    done = run_python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
