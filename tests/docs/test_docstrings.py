"""The examples in the docstrings run, and every public class and function has one."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import xrnn
from xrnn.cells import CELLS

PUBLIC = {name: getattr(xrnn, name) for name in xrnn.__all__}
# Types for annotations, base classes, the arguments of a cell's methods, and what prints the installation.
WITHOUT = {
    *("Array", "Checkpoint", "Directed", "Explanation", "Group", "HasParameters", "HostArray", "Layer", "Optimizer"),
    *("DType", "Lengths", "StreamState", "SupportsDLPack"),
    *("ParameterGroup", "Part", "RecurrentLayer", "Run", "SingleStateLayer", "States", "StepArrays"),
    *("Backend", "Cell", "GRUCell", "LSTMCell", "LeakyRNNCell", "RNNCell", "sigmoid"),
    *("MinGRUCell", "MinLSTMCell", "LRUCell", "SLSTMCell", "TrainedLeakRNNCell"),
    *("CurrentRNNCell", "TrainedLeakCurrentRNNCell"),
    *("show_config", "xp"),
}
NAMES = [
    name
    for name in xrnn.__all__
    if name not in WITHOUT and not (inspect.isclass(PUBLIC[name]) and issubclass(PUBLIC[name], Exception))
]


def marks(name: str) -> list[pytest.MarkDecorator]:
    library = name.partition("_")[2]
    return [pytest.mark.needs(library, library)] if library in ("torch", "onnx", "keras") else []


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
@pytest.mark.usefixtures("table_of_backends")
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in NAMES])
def test_the_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(text, {**PUBLIC, "np": np}, name, None, None)
    assert example.examples, f"{name} has no example"
    printed: list[str] = []
    with xrnn.use_backend("numpy"), patch.dict(CELLS):  # one example registers a layer
        doctest.DocTestRunner().run(example, out=printed.append)
    assert not printed, "".join(printed)
