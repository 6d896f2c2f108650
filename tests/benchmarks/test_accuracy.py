"""The measures of error find an error that is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy
from benchmarks.cases import Case
from xrnn.typing import Array


def test_tanh_ulp_sees_an_error_of_a_few_ulp(monkeypatch: pytest.MonkeyPatch) -> None:
    right = accuracy.tanh_ulp("float32", per_exponent=1)
    assert 0.2 < right < 4

    def off(self: object, x: Array) -> Array:
        h = np.tanh(x)
        h[x > 0.5] -= 6 * np.spacing(h[x > 0.5])
        return h

    monkeypatch.setattr("xrnn.RNN.__call__", off)
    assert 5 < accuracy.tanh_ulp("float32", per_exponent=1) < 8


def test_accuracy_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "SEQUENCE", Case(T=30, N=2, D=3, H=8))
    accuracy.main(["--seeds", "2", "--per-exponent", "1", "--threads", "1", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "accuracy.json").read_text())
    assert results["rms"].keys() == {"rnn", "lstm", "gru"}
    for by_form in results["rms"].values():
        assert by_form.keys() - {"PyTorch, bfloat16"} == {"fused", "plain", "bfloat16 products", "int8 weights"}
        for form, seeds in by_form.items():
            least, most = (1e-9, 1e-5) if form in ("fused", "plain") else (1e-5, 0.1)
            assert all(least < rms < most for rms in seeds), form
    assert results["forms"]["plain"] == "plain"
    assert "geometric mean over 2 seeds" in capsys.readouterr().out
