"""The site's pages: their Python code runs from top to bottom, and they name what there is."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints
from unittest.mock import patch

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

import xrnn
from tests.needs_kernels import NOT_BUILT
from xrnn import LSTM, Stack, use_backend
from xrnn.backends.numpy import kernels
from xrnn.cells import CELLS
from xrnn.exchange.description import canonical, take_apart

DOCS = Path(__file__).parents[2] / "docs"
# The types of other libraries in annotations, which only type checkers import.
OTHERS = {
    "torch": SimpleNamespace(nn=SimpleNamespace(Module=Any)),
    "keras": SimpleNamespace(Layer=Any),
    "onnx": SimpleNamespace(ModelProto=Any),
}
NEEDS = {
    "import torch": ("torch", "torch"),
    "from transformers": ("transformers", "bench"),
    "to_onnx(": ("onnx", "onnx"),
    "to_keras(": ("keras", "keras"),
    "from sklearn": ("sklearn", "series"),
    "import pandas": ("pandas", "series"),
}


def pages() -> Iterator[Any]:
    for path in sorted(DOCS.rglob("*.md")):
        if "```python" in (text := path.read_text("utf-8")):
            marks = [pytest.mark.needs(*library) for word, library in NEEDS.items() if word in text]
            yield pytest.param(str(path.relative_to(DOCS)), marks=marks)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@pytest.mark.usefixtures("table_of_backends")
@pytest.mark.parametrize("page", [*pages()])
def test_the_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    if page in ("tutorials/pytorch.md", "how-to/mamba.md") and not kernels:
        pytest.skip(NOT_BUILT)
    monkeypatch.chdir(tmp_path)  # where the code writes its files
    with use_backend("numpy"), patch.dict(CELLS):  # a page registers a layer
        for example in Sybil([PythonCodeBlockParser(), SkipParser()]).parse(DOCS / page).examples():
            example.evaluate()


def documented() -> dict[str, set[str]]:
    names = defaultdict(set)
    for page in (DOCS / "reference").rglob("*.md"):
        package = "xrnn"
        for command, name in re.findall(
            r"^\.\. (currentmodule|auto\w+|data|exception):: ([\w.]+)$", page.read_text(), re.MULTILINE
        ):
            if command == "currentmodule":
                package = name
            else:
                path, _, last = name.rpartition(".")
                names[path or package].add(last)
    return names


PACKAGES = ["xrnn", "xrnn.parallel", "xrnn.series", "xrnn.torch"]


def test_the_reference_has_the_public_names_and_no_others() -> None:
    names = documented()
    assert sorted(names) == PACKAGES
    for package in PACKAGES:
        if package != "xrnn.torch" or find_spec("torch"):
            assert names[package] == set(importlib.import_module(package).__all__)


# `forward` makes a Cache for `backward`, the commands a Model for exports. The others are arguments of a backend's
# operations.
OPAQUE = {
    *("Cache", "Model", "Inputs", "Trace", "Products", "Draws"),
    *("ConvolutionGradients", "ConvolutionInputs", "ConvolutionOutputs", "ScanGradients", "ScanInputs", "ScanOutputs"),
    *("MemoryGradients", "MemoryInputs", "MemoryOutputs"),
}


def types_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and hint.__module__.startswith("xrnn"):
        yield hint
    for inner in get_args(hint):
        for each in inner if isinstance(inner, list) else [inner]:
            yield from types_in(each)


def test_the_types_of_arguments_and_results_are_public() -> None:
    named = [getattr(xrnn, name) for name in xrnn.__all__]
    functions: list[tuple[str, Any]] = [(each.__name__, each) for each in named if inspect.isfunction(each)]
    for cls in filter(inspect.isclass, named):
        for name, member in inspect.getmembers_static(cls):
            member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            is_ours = inspect.isfunction(member) and member.__module__.startswith("xrnn")
            if is_ours and (not name.startswith("_") or name in ("__init__", "__call__")):
                functions.append((f"{cls.__name__}.{name}", member))
    assert len(functions) > 150
    hidden = {
        (name, found.__name__)
        for name, function in functions
        for hint in get_type_hints(function, localns=OTHERS).values()
        for found in types_in(hint)
        if found not in named and found.__name__ not in OPAQUE
    }
    assert not hidden


def test_the_lowest_versions_are_those_of_the_package() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {"python": project["requires-python"].removeprefix(">=")}
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in group:
            if match := re.match(r"([\w-]+?)(?:-cuda1\dx)?(?:\[\w+\])?>=([\d.]+)", requirement):
                wanted[match[1]] = match[2]
    names = {"pytorch": "torch"}
    text = (DOCS / "reference" / "stability.md").read_text("utf-8").partition("## Tested versions")[2]
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+\d|\d+)", text, re.MULTILINE)
    assert len(rows) == 13
    for name, least, tested in rows:
        assert least == wanted[names.get(name.lower(), name.lower())], name
        assert [*map(int, tested.split("."))] >= [*map(int, least.split("."))]


def test_the_signatures_are_those_of_the_layers() -> None:
    rows = re.findall(r"^\| `(\w+)\((.*?)\)`", (DOCS / "reference" / "layers.md").read_text("utf-8"), re.MULTILINE)
    rnn, *others = (layer.__name__ for layer in CELLS.values())
    assert [name for name, _ in rows] == [rnn, "CurrentRNN", *others]
    for name, arguments in rows:
        parameters = inspect.signature(getattr(xrnn, name)).parameters
        written = [argument.split("=")[0].strip() for argument in arguments.split(",") if argument.strip() != "*"]
        assert written == list(parameters)


def test_the_description_is_one_of_saved_files() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", (DOCS / "reference" / "files.md").read_text("utf-8"), re.DOTALL)
    stack = Stack.init(LSTM, 3, 8, dropout=0.3)
    stack.dropout[0].seed = 5
    assert canonical(take_apart(stack)[0]) == canonical(json.loads(text))


def test_the_files_and_commands_that_pages_name_exist() -> None:
    root, missing, count = DOCS.parent, [], 0
    for page in (*root.glob("*.md"), *DOCS.rglob("*.md"), root / "benchmarks" / "README.md"):
        text = page.read_text("utf-8")
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", text)
        links = [link for link in links if not link.startswith(("gallery/", "../gallery/"))]  # made with the site
        modules = [name.replace(".", "/") for name in re.findall(r"-m (benchmarks[.\w]*\w)", text)]
        scripts = re.findall(r"(?<![\w./])\.ci/[\w.]+\w", text)
        files = [page.parent / link for link in links] + [root / script for script in scripts]
        files += [root / f"{name}.py" if "/" in name else root / name / "__main__.py" for name in modules]
        missing += [(page.name, str(file)) for file in files if not file.exists()]
        count += len(files)
    assert count > 200
    assert not missing
