"""docs/how-to/mgu.py runs and prints what the page shows."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xrnn import Recurrent, save, save_checkpoint
from xrnn.commands.main import main

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-cell.md"
SCRIPT = PAGE.with_name("mgu.py")
MGU: Any = runpy.run_path(str(SCRIPT))["MGU"]


def test_the_script_prints_what_the_page_shows(tmp_path: Path) -> None:
    shown = re.search(r"python mgu.py\nloss (\S+)", PAGE.read_text("utf-8"))
    environment = os.environ | {"XRNN_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, str(SCRIPT)], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr
    assert shown
    assert float(done.stdout.split()[1]) == pytest.approx(float(shown[1]), abs=0.003)  # on another machine


@pytest.mark.parametrize(("name", "store"), [("load", save), ("load_checkpoint", save_checkpoint)])
def test_a_command_does_not_ask_for_cells(
    name: str, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mgu.safetensors"
    layer = Recurrent.init(MGU(), 2, 3, rng=0, backend="numpy")
    store(path, layer if store is save else {"mgu": layer})
    assert main(["info", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: {path} holds the cell 'MGU', which xrnn does not have: commands read built-in cells only; load the "
        f"file in Python, by xrnn.{name}(…, cells={{'MGU': …}})"
    )
