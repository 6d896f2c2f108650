"""Runs Python code by `mpiexec`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

NEEDS_MPI: Final = pytest.mark.needs("mpi4py", "mpi")
_REPOSITORY: Final = Path(__file__).parents[2]


def command(size: int, *arguments: str) -> list[str]:
    """The command that runs Python with `arguments` in `size` ranks: with the mpiexec of this environment, if any."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    return [mpiexec, "-n", str(size), sys.executable, "-W", "error", *arguments]


def environment(**more: str) -> dict[str, str]:
    """The environment, of whose XRNN_ variables only those in `more` are set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("XRNN_")}
    return inherited | {"XRNN_BACKEND": "numpy", "PYTHONPATH": str(_REPOSITORY)} | more


def mpiexec(size: int, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(size, *arguments), env=environment(**more), capture_output=True, text=True, timeout=300
    )


def output_of(size: int, code: str, **more: str) -> str:
    """The output of `code` in `size` ranks. Fails if one of them ends with an error."""
    done = mpiexec(size, "-c", code, **more)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout
