"""CuPy's backend behind the modules, on the stand-in: its arithmetic, without a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from tests.conftest import STANDIN
from tests.torch.pairs import agree, everything, pair, states_of
from xrnn.torch import weights
from xrnn.typing import Array


class Standin:
    """In place of a GPU's memory: tensors are copied to the stand-in's arrays and back."""

    backend = STANDIN

    def array(self, tensor: torch.Tensor) -> Array:
        return STANDIN.asarray(tensor.detach().numpy())

    weight = array

    def tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(STANDIN.to_numpy(array)))

    def entered(self) -> AbstractContextManager[object]:
        return nullcontext()


@pytest.fixture(autouse=True)
def _on_the_standin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "memory_of", lambda device: Standin())


@pytest.mark.parametrize("packed", [False, True])
def test_results_and_gradients(kind: str, packed: bool) -> None:
    theirs, ours = pair(kind, 3, 4, 2, bidirectional=True, dtype=torch.float64)
    x: Any = torch.randn(5, 2, 3, dtype=torch.float64)
    if packed:
        x = pack_padded_sequence(x, [5, 2])
    hx = states_of(theirs, 2)
    agree(everything(ours, x, hx), everything(theirs, x, hx))
    with torch.no_grad():
        agree([ours(x, hx)[1][0]], [theirs(x, hx)[1][0]])
