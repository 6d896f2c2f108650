"""The scripts of the how-to pages run, and print what the pages show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from xrnn import load_checkpoint

DOCS = Path(__file__).parents[2] / "docs" / "how-to"


def run(text: str, folder: Path) -> str:
    """What the script prints."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def numpy_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "numpy")


def test_the_cell_of_your_own(tmp_path: Path) -> None:
    shown = re.search(r"python mgu.py\nloss (\S+)", (DOCS / "own-cell.md").read_text("utf-8"))
    assert shown
    printed = run((DOCS / "mgu.py").read_text("utf-8"), tmp_path)
    assert float(printed.split()[1]) == pytest.approx(float(shown[1]), abs=0.003)  # on another machine


def test_where_the_time_of_a_loop_goes(tmp_path: Path) -> None:
    """The page shows the lines that the script prints, with the times of one machine."""

    def words(text: str) -> list[str]:
        return [re.sub(r"[0-9]+\.[0-9]", "", line) for line in text.splitlines()]

    shown = re.search(r"python where_time_goes.py\n(.*?)```", (DOCS / "profile.md").read_text("utf-8"), re.DOTALL)
    assert shown
    text = (DOCS / "where_time_goes.py").read_text("utf-8")
    assert words(run(text.replace("0.2, 60", "0.2, 6"), tmp_path)) == words(shown[1])


def test_two_starts_of_the_tagger_equal_a_run_without_interruption(tmp_path: Path) -> None:
    text, page = (DOCS / "tagger.py").read_text("utf-8"), (DOCS / "network.md").read_text("utf-8")
    shown = re.findall(r"^(\d+ updates: loss) (\d\.\d+)$", page, re.MULTILINE)
    assert len(shown) == 2
    for words, loss in shown:
        printed = run(text, tmp_path / "two")
        assert printed.startswith(words)
        assert float(printed.split()[-1]) == pytest.approx(float(loss), abs=0.02)  # of another machine
    assert run(text, tmp_path / "two") == ""  # nothing is left to do
    run(text.replace("+ 200", "+ 400"), tmp_path / "one")
    two, one = (load_checkpoint(tmp_path / name / "tagger.safetensors").layers for name in ("two", "one"))
    for got, want in zip(two.params, one.params, strict=True):
        assert_array_equal(got, want)
