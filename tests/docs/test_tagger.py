"""docs/how-to/tagger.py runs, and continues with the same bits. `make check` runs mypy on it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from xrnn import Network, load_checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "network.md"
SCRIPT = PAGE.with_name("tagger.py")


@pytest.fixture(autouse=True)
def numpy_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")


def run(text: str, folder: Path) -> tuple[str, Network]:
    """What the script prints, and the layers that it saves."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout, load_checkpoint(folder / "tagger.safetensors").layers


def test_two_starts_equal_a_run_without_interruption(tmp_path: Path) -> None:
    text = SCRIPT.read_text("utf-8")
    shown = re.findall(r"^(\d+ updates: loss) (\d\.\d+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(shown) == 2
    for words, loss in shown:
        printed, layers = run(text, tmp_path / "two")
        assert printed.startswith(words)
        assert float(printed.split()[-1]) == pytest.approx(float(loss), abs=0.02)  # of another machine
    assert run(text, tmp_path / "two")[0] == ""  # nothing is left to do
    _, straight = run(text.replace("+ 200", "+ 400"), tmp_path / "one")
    for got, want in zip(layers.params, straight.params, strict=True):
        assert_array_equal(got, want)
