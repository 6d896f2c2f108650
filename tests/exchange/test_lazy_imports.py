"""`xrnn` has the functions of `xrnn.exchange`, and imports their modules at the first use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import xrnn
from tests.fresh import output_of

FUNCTIONS = ["from_keras", "from_onnx", "from_torch", "load", "save", "to_c", "to_keras", "to_onnx", "to_torch"]
MODULES = ["keras", "onnx_read", "torch", "files", "files", "c", "keras", "onnx_write", "torch"]


def test_functions_are_listed_before_their_modules_are_imported() -> None:
    code = f"""
import sys, xrnn
print(set({FUNCTIONS}) <= set(dir(xrnn)) & set(xrnn.__all__))
names = "xrnn.exchange", "xrnn.files", "keras", "onnx", "safetensors", "torch"
print([name for name in names if name in sys.modules])
from xrnn import {", ".join(FUNCTIONS)}
print([f.__module__ for f in ({", ".join(FUNCTIONS)})])
print([name for name in ("keras", "onnx", "safetensors", "torch") if name in sys.modules])
"""
    assert output_of(code).splitlines() == ["True", "[]", str([f"xrnn.exchange.{name}" for name in MODULES]), "[]"]


def test_without_the_package_the_error_names_the_command() -> None:
    titles = {"torch": "PyTorch", "onnx": "onnx", "keras": "Keras"}
    names = [f"{way}_{package}" for package in titles for way in ("from", "to")]
    code = f"""
import importlib, sys
sys.modules |= dict.fromkeys({list(titles)})
import xrnn
calls = [lambda name=name: getattr(xrnn, name)(xrnn.RNN.init(2, 3)) for name in {names}]
for call in [*calls, lambda: importlib.import_module("xrnn.torch")]:
    try:
        call()
    except ImportError as error:
        print(error)
"""
    libraries = {name: name.partition("_")[2] for name in names} | {"torch": "torch"}
    assert output_of(code, XRNN_BACKEND="numpy").splitlines() == [
        f"xrnn.{name} needs {titles[library]}, which is not installed: `pip install -e '.[{library}]'`"
        for name, library in libraries.items()
    ]


@pytest.mark.parametrize("missing", ["a_dependency", "z_dependency"])
def test_a_broken_pytorch_raises_its_own_error(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(f"import {missing}")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=f"^No module named '{missing}'$"):
        xrnn.to_torch(xrnn.RNN.init(2, 3))
