"""Other processes that keep CPUs busy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

_CODE = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # none outlives this process

Spinning = subprocess.Popen[bytes]


def spin(count: int) -> list[Spinning]:
    """Start so many, each of which keeps one CPU busy."""
    return [subprocess.Popen([sys.executable, "-c", _CODE]) for _ in range(count)]


def stop(spinning: Iterable[Spinning]) -> None:
    """End them, and wait until they have gone."""
    for process in spinning:
        process.kill()
        process.wait()
