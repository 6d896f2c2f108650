"""The code of docs/how-to/formats.md runs as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xrnn import GRU, Linear, Stack, to_c, use_backend
from xrnn.commands.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "formats.md").read_text(encoding="utf-8")


def blocks(part: str, language: str) -> list[str]:
    text = re.split(rf"^## {part}$", PAGE, flags=re.MULTILINE)[1].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_c_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    monkeypatch.chdir(tmp_path)
    (python,), (program, _), (console, *_) = (blocks("C", language) for language in ("python", "c", "console"))
    with use_backend("numpy"):
        exec(python, {})
    Path("main.c").write_text(program)
    commands = "\n".join(line[2:] for line in console.splitlines() if line.startswith("$"))
    done = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    stack, readout = Stack.init(GRU, 3, 16, 2, rng=0, backend="numpy"), Linear.init(16, 4, rng=1, backend="numpy")
    h, _ = stack(np.array([[[0.1, 0.2, 0.3]], [[0.2, 0.3, 0.4]]], "float32"))
    y = np.exp(readout(h[:, 0]))
    got = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(got, y / y.sum(axis=-1, keepdims=True), atol=6e-4)


def test_the_bytes_of_a_gesture_classifier(tmp_path: Path) -> None:
    with use_backend("numpy"):
        layers, scale = [GRU.init(3, 64, rng=0), Linear.init(64, 3, rng=1)], (np.zeros(3), np.ones(3))
    to_c(layers, tmp_path / "g.c", scale=scale, mean=True, last=60, softmax=True)
    (found,) = re.findall(r"scratch memory: ([\d,]+) bytes", (tmp_path / "g.c").read_text())
    assert f"a GRU of 64 units, these are {found} bytes: {4 * 60 * 3} for the rows" in PAGE.replace("\n", " ")


def test_the_gesture_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The label and its probability, after each row, as `xrnn predict --stream` prints them."""
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XRNN_BACKEND", "numpy")
    rng = np.random.default_rng(0)
    for n in range(8):
        folder = Path("recordings") / "ab"[n % 2]
        folder.mkdir(parents=True, exist_ok=True)
        np.savetxt(folder / f"{n}.csv", rng.standard_normal((6, 2)) + n % 2, delimiter=",")
    Path("main.c").write_text(blocks("C", "c")[1])
    train, build = blocks("C", "console")[1:]
    commands = [line[2:].partition("#")[0] for line in (train + build).splitlines() if line.startswith("$")]
    for command in commands[:2]:
        options = ["--epochs", "5", "--hidden", "4"] if "classify" in command else []
        assert main([*command.split()[1:], *options]) == 0
    assert subprocess.run(commands[2].split()).returncode == 0
    rows = Path("recordings/a/0.csv").read_text()
    done = subprocess.run(["./gesture"], input=rows, capture_output=True, text=True)
    predicted = [sys.executable, "-m", "xrnn", "predict", "gesture.safetensors", "--stream"]
    want = subprocess.run(predicted, input=rows, capture_output=True, text=True)
    got = [line.split() for line in done.stdout.splitlines()]
    stream = [line.split(",") for line in want.stdout.splitlines()[1:]]  # without the header of the table
    assert [label for label, _ in got] == [label for label, _ in stream]
    np.testing.assert_allclose([float(p) for _, p in got], [float(p) for _, p in stream], atol=1.1e-3)
