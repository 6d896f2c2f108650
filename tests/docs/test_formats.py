"""The code of docs/how-to/formats.md runs as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from xrnn import GRU, Linear, Stack, use_backend

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "formats.md").read_text(encoding="utf-8")


def blocks(part: str, language: str) -> list[str]:
    """The code of this language in the part of the page with this title."""
    text = re.split(rf"^## {part}$", PAGE, flags=re.MULTILINE)[1].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_c_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    monkeypatch.chdir(tmp_path)
    (python,), (main,), (console,) = blocks("C", "python"), blocks("C", "c"), blocks("C", "console")
    with use_backend("numpy"):
        exec(python, {})
    Path("main.c").write_text(main)
    commands = "\n".join(line[2:] for line in console.splitlines() if line.startswith("$"))
    done = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    stack, readout = Stack.init(GRU, 3, 16, 2, rng=0, backend="numpy"), Linear.init(16, 4, rng=1, backend="numpy")
    h, _ = stack(np.array([[[0.1, 0.2, 0.3]], [[0.2, 0.3, 0.4]]], "float32"))
    y = np.exp(readout(h[:, 0]))
    got = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(got, y / y.sum(axis=-1, keepdims=True), atol=6e-4)
