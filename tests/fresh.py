"""Runs Python in a new process, for settings that are read once per process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# An import finder that comes first and reports that CuPy is not installed.
NO_CUPY = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cupy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
"""

XRNN = "import sys; from xrnn.commands.main import main; sys.exit(main())"

# A background job of a script ignores SIGINT, and `nohup` SIGHUP; a child process inherits that.
DEFAULT_SIGNALS = """
import signal
for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal)):
    default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    signal.signal(getattr(signal, name), default)
"""

# Replaces CuPy by the stand-in, so that there is a second backend without a GPU.
STANDIN_AS_CUPY = """
import sys
from xrnn.arrays import registry
from tests import standin_backend
sys.modules["fake_cupy_backend"] = type(sys)("fake_cupy_backend")
sys.modules["fake_cupy_backend"].load = standin_backend.make
registry.loaders["cupy"] = "fake_cupy_backend"
"""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with warnings as errors; of the XRNN_ variables only those in `environment` are set."""
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
    """The output of `code`. Fails if `code` ends with an error."""
    done = run_python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
