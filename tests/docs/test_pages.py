"""The site's pages: their Python code runs from top to bottom, and they name what there is."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from unittest.mock import patch

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

import xrnn
from xrnn import LSTM, Stack, use_backend
from xrnn.cells import CELLS
from xrnn.exchange.description import canonical, take_apart

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if "```python" in page.read_text("utf-8"))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.usefixtures("table_of_backends")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    text = (DOCS / page).read_text("utf-8")
    for module, word in (
        ("torch", "import torch"),
        ("onnx", "to_onnx("),
        ("keras", "to_keras("),
        ("sklearn", "from sklearn"),
    ):
        if word in text:
            pytest.importorskip(module, reason=f"the page needs {module}: pip install -e '.[{module}]'")
    monkeypatch.chdir(tmp_path)  # where the code writes its files
    with use_backend("numpy"), patch.dict(CELLS):  # a page registers a layer
        for example in Sybil([PythonCodeBlockParser(), SkipParser()]).parse(DOCS / page).examples():
            example.evaluate()


def test_the_reference_has_every_public_name() -> None:
    reference = "".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    documented = re.findall(r"^\.\. (?:auto\w+|data):: (?:[\w.]+\.)?(\w+)$", reference, re.MULTILINE)
    assert set(xrnn.__all__) <= set(documented)


def test_the_signatures_are_those_of_the_layers() -> None:
    rows = re.findall(r"^\| `(\w+)\((.*?)\)`", (DOCS / "reference" / "layers.md").read_text("utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == ["RNN", "LSTM", "GRU"]
    for name, arguments in rows:
        parameters = inspect.signature(getattr(xrnn, name)).parameters
        written = [argument.split("=")[0].strip() for argument in arguments.split(",") if argument.strip() != "*"]
        assert written == list(parameters)


def test_the_description_is_one_of_saved_files() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", (DOCS / "reference" / "files.md").read_text("utf-8"), re.DOTALL)
    stack = Stack.init(LSTM, 3, 8, dropout=0.3)
    stack.dropout[0].seed = 5
    assert canonical(take_apart(stack)[0]) == canonical(json.loads(text))
