"""The code of docs/layers.md runs as it stands, and its table names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import xrnn
from xrnn import use_backend
from xrnn.backend import Backend

PAGE = (Path(__file__).parents[2] / "docs" / "layers.md").read_text(encoding="utf-8")


def test_the_code_runs_from_top_to_bottom(backend: Backend) -> None:
    names: dict[str, Any] = {}
    with use_backend(backend):
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(block, names)
    assert {"lstm", "gru", "both", "deep", "stack"} <= names.keys()


def test_the_signatures_are_those_of_the_layers() -> None:
    rows = re.findall(r"^\| `(\w+)\((.*?)\)`", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == ["RNN", "LSTM", "GRU"]
    for name, arguments in rows:
        parameters = inspect.signature(getattr(xrnn, name)).parameters
        written = [argument.split("=")[0].strip() for argument in arguments.split(",") if argument.strip() != "*"]
        assert written == list(parameters)
