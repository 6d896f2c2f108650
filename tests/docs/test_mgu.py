"""docs/how-to/mgu.py runs and prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-cell.md"
SCRIPT = PAGE.with_name("mgu.py")


def test_the_script_prints_what_the_page_shows(tmp_path: Path) -> None:
    shown = re.search(r"python mgu.py\nloss (\S+)", PAGE.read_text("utf-8"))
    environment = os.environ | {"XRNN_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, str(SCRIPT)], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr
    assert shown
    assert float(done.stdout.split()[1]) == pytest.approx(float(shown[1]), abs=0.003)  # on another machine
