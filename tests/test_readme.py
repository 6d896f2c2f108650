"""The commands and code blocks of README.md work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.needs_kernels import NEEDS_KERNELS
from xrnn import use_backend
from xrnn.backend import Backend

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


README = read("README.md")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_training_loop_learns(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    _, training, _ = blocks("python")
    bound = 0.01
    if backend.name != "numpy":  # the stand-in is slow: fewer steps, looser bound
        training, bound = training.replace("range(300)", "range(8)"), 0.1
    with use_backend(backend):
        exec(training, {})
    assert 0 < float(capsys.readouterr().out) < bound


def test_own_arrays_are_updated_in_place(backend: Backend) -> None:
    _, _, own_arrays = blocks("python")
    T, N, D, H = 5, 3, 2, 4
    rng = np.random.default_rng(0)
    shapes = {"Wx": (D, H), "Wh": (H, H), "b": (H,), "x": (T, N, D), "h_prev": (N, H), "dh": (T, N, H)}
    names: dict[str, Any] = {name: backend.asarray(rng.standard_normal(shape)) for name, shape in shapes.items()}
    before = {name: backend.to_numpy(names[name]).copy() for name in ("Wx", "Wh", "b")}
    exec("from xrnn import RNN\n" + own_arrays, names)
    for name, dp in zip(before, names["rnn"].grads, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(names[name]), before[name] - 0.1 * backend.to_numpy(dp))
        assert np.any(backend.to_numpy(dp))


@NEEDS_KERNELS
@pytest.mark.needs("torch", "torch")
def test_an_existing_model_is_accelerated() -> None:
    import torch

    import xrnn.torch

    model = torch.nn.ModuleList([torch.nn.LSTM(2, 3), torch.nn.Linear(3, 1)])
    exec(blocks("python")[0], {"model": model})
    assert xrnn.torch.explain(model) == {"0": "kernels"}


def test_extras_are_declared() -> None:
    extras = re.findall(r"'\.\[(\w+)\]'", README)
    assert extras
    assert set(extras) <= set(tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"])


def test_environment_page_lists_the_variables() -> None:
    texts = [read("pyproject.toml")]
    for folder in ("xrnn", "backends", "tests"):
        texts += [path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py")]
    used = {name for text in texts for name in re.findall(r"(?:\"|env\.)(XRNN_[A-Z_]+)\b", text)}
    assert used == set(re.findall(r"^\| `(XRNN_\w+)`", read("docs/reference/environment.md"), re.MULTILINE))
