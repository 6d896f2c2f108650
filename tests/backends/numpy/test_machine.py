"""The description of the CPU in `xrnn info`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xrnn import get_backend
from xrnn.info import describe


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        ({"baseline": ["SSE", "SSE2"], "found": ["AVX2"], "not found": ["AVX512F"]}, "with SSE, SSE2, AVX2, "),
        ({"baseline": ["NEON"]}, "with NEON, "),
        ({}, "with no SIMD known to NumPy, "),
        (None, "with no SIMD known to NumPy, "),
    ],
)
def test_the_instruction_sets_by_numpy(monkeypatch: pytest.MonkeyPatch, extensions: Any, said: str) -> None:
    built: dict[str, Any] = {"Build Dependencies": {"blas": {"name": "blas"}}}
    if extensions is not None:
        built["SIMD Extensions"] = extensions
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    assert said in describe(get_backend("numpy"))["device"]


def test_the_description_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    with_kernels = describe(get_backend("numpy"))
    monkeypatch.setattr("xrnn.backends.numpy.kernels", None)
    facts = describe(get_backend("numpy"))
    assert facts.pop("compiled kernels").startswith("the kernels were not built: ")
    assert facts.items() <= with_kernels.items()
    assert list(facts) == ["NumPy", "device", "BLAS"]
