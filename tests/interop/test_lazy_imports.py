"""`xrnn` has the functions of `xrnn.interop`, and imports their modules at the first use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import xrnn
from tests.fresh import NO_TORCH, output_of

FUNCTIONS = ["from_onnx", "from_torch", "load", "save", "to_c", "to_onnx", "to_torch"]


def test_functions_are_listed_before_their_modules_are_imported() -> None:
    code = f"""
import sys, xrnn
print(set({FUNCTIONS}) <= set(dir(xrnn)) & set(xrnn.__all__))
print([name for name in ("xrnn.interop", "xrnn.files", "safetensors", "torch") if name in sys.modules])
from xrnn import {", ".join(FUNCTIONS)}
print([f.__module__ for f in ({", ".join(FUNCTIONS)})])
print([name for name in ("onnx", "safetensors", "torch") if name in sys.modules])
"""
    assert output_of(code).splitlines() == [
        "True",
        "[]",
        str([f"xrnn.interop.{name}" for name in ("onnx_read", "torch", "files", "files", "c", "onnx_write", "torch")]),
        "[]",
    ]


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'xrnn' has no attribute 'from_keras2'$"):
        xrnn.from_keras2  # type: ignore[attr-defined]  # noqa: B018


def test_without_pytorch_the_error_names_the_command() -> None:
    code = """
import xrnn
for function in (xrnn.from_torch, xrnn.to_torch):
    try:
        function(xrnn.RNN.init(2, 3))
    except ImportError as error:
        print(error)
"""
    assert output_of(NO_TORCH + code, XRNN_BACKEND="numpy").splitlines() == [
        f"xrnn.{name} needs PyTorch, which is not installed: `pip install -e '.[torch]'`"
        for name in ("from_torch", "to_torch")
    ]


@pytest.mark.parametrize("missing", ["a_dependency", "z_dependency"])
def test_a_broken_pytorch_raises_its_own_error(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(f"import {missing}")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=f"^No module named '{missing}'$"):
        xrnn.to_torch(xrnn.RNN.init(2, 3))
