"""The doors are names of `xrnn`, and what is behind them is imported when one is used."""

from __future__ import annotations

import pytest

import xrnn
from tests.fresh import NO_TORCH, output_of

DOORS = ["from_torch", "load", "save", "to_torch"]


def test_they_are_seen_before_they_are_used() -> None:
    code = f"""
import sys, xrnn
print(set({DOORS}) <= set(dir(xrnn)) & set(xrnn.__all__))
print([name for name in ("xrnn.interop", "xrnn.files", "safetensors", "torch") if name in sys.modules])
from xrnn import {", ".join(DOORS)}
print([f.__module__ for f in ({", ".join(DOORS)})])
print([name for name in ("safetensors", "torch") if name in sys.modules])
"""
    assert output_of(code).splitlines() == [
        "True",
        "[]",
        "['xrnn.interop.torch', 'xrnn.interop.files', 'xrnn.interop.files', 'xrnn.interop.torch']",
        "[]",
    ]


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match=r"^module 'xrnn' has no attribute 'from_keras2'$"):
        xrnn.from_keras2  # type: ignore[attr-defined]  # noqa: B018


def test_without_pytorch_its_door_names_the_command() -> None:
    code = """
import xrnn
for door in (xrnn.from_torch, xrnn.to_torch):
    try:
        door(xrnn.RNN.init(2, 3))
    except ImportError as error:
        print(error)
"""
    assert output_of(NO_TORCH + code, XRNN_BACKEND="numpy").splitlines() == [
        f"xrnn.{door} needs PyTorch, which is not installed: `pip install -e '.[torch]'`"
        for door in ("from_torch", "to_torch")
    ]
