"""The code of docs/training.md runs as it stands, and its loop resumes bit for bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from xrnn import load_checkpoint, use_backend
from xrnn.backend import Backend

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_code_runs_and_the_loop_resumes(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with use_backend(backend):
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(block, names)
        ends = [load_checkpoint(tmp_path / name / "last.safetensors") for name in ("straight", "resumed")]
    straight, resumed = ends
    assert straight.extra == resumed.extra
    assert straight.extra["epoch"] > 3  # the interruption was before the end
    assert straight.extra["best"] < 0.5 < np.log(2)
    for moment in ("m", "v"):
        for one, other in zip(straight.optimizer.state[moment], resumed.optimizer.state[moment], strict=True):
            np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))
    assert straight.optimizer.steps == resumed.optimizer.steps == 4 * straight.extra["epoch"]


def test_the_tables_name_what_there_is() -> None:
    names = set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE))
    assert {"softmax_cross_entropy", "huber", "quantile", "SGD", "Adam", "EMA", "clip_grad_norm"} <= names
    assert names <= set(xrnn.__all__)
