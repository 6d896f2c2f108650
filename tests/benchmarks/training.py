"""Compares training by PyTorch with training by xrnn."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest


def assert_both_learn_alike(cell: str, torch: Any, xrnn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that twenty updates of both runs, from PyTorch's initial weights, give the same weights.

    xrnn's clipping is switched off: the PyTorch code has none.
    """
    monkeypatch.setattr("xrnn.models.trainer._MAX_NORM", 1e9)
    for mine, theirs in zip(xrnn.model().params, torch.model().params, strict=True):
        mine[...] = theirs
    for name, parameter in torch._rnn.named_parameters():
        if name.startswith("bias_hh"):
            parameter.register_hook(partial(_without_second_bias, cell))
    for _ in range(20):
        torch.step()
        xrnn.step()
    for mine, theirs in zip(xrnn.model().params, torch.model().params, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def _without_second_bias(cell: str, gradient: Any) -> Any:
    """Freeze the second bias: with two, their sum would learn twice as fast. GRU's n, the last gate, needs both."""
    kept = gradient.clone().zero_()
    if cell == "gru":
        own = slice(len(gradient) * 2 // 3, None)
        kept[own] = gradient[own]
    return kept
