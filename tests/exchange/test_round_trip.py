"""PyTorch → ONNX → xrnn → C: the C program gives the results of the PyTorch model."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.exchange.compiled_c import built, outputs
from xrnn import from_onnx, to_c


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_pytorch_to_c(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x, file = getattr(torch.nn, kind)(3, 8, 2).eval(), torch.randn(50, 1, 3), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        torch.onnx.export(module, (x,), file, dynamo=False)
    to_c(from_onnx(onnx.load_from_string(file.getvalue()), backend="numpy"), tmp_path / "model.c")
    difference = np.abs(outputs(built(tmp_path, "model"), x[:, 0].numpy()) - module(x)[0][:, 0].detach().numpy()).max()
    print(f"{kind}: {difference:.1e}")
    assert difference < 2e-6
