"""The code of docs/weights.md runs as it stands; the part before PyTorch's without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.interop.alike import assert_alike
from xrnn import LSTM, Stack, use_backend
from xrnn.backend import Backend
from xrnn.interop.description import canonical, take_apart

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")


def run(page: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    return names


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_code_before_pytorch_runs(backend: Backend) -> None:
    with use_backend(backend):
        names = run(PAGE.partition("## PyTorch")[0])
    assert_alike(names["again"], names["stack"])


@pytest.mark.needs("torch", "torch")
def test_the_code_runs_from_top_to_bottom() -> None:
    with use_backend("numpy"):
        names = run(PAGE)
    h, _ = names["module"].eval()(names["x"])
    np.testing.assert_allclose(names["h"], h.detach().transpose(0, 1).numpy(), rtol=1e-5, atol=1e-6)


def test_the_description_is_one_of_saved_files() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    stack = Stack.init(LSTM, 3, 8, dropout=0.3)
    stack.dropout[0].seed = 5
    assert canonical(take_apart(stack)[0]) == canonical(json.loads(text))
