"""A cell with parameters of its own, added as CONTRIBUTING.md says: a cell file and a layer file.

Only tests use it, so the fixture that calls `build_in` registers it.
"""

from __future__ import annotations

import pytest

from tests.peephole.layer import PeepholeLSTM
from xrnn import cells


def build_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register it until the end of the test."""
    monkeypatch.setitem(cells.CELLS, "peephole_lstm", PeepholeLSTM)
    cells.register_cell(PeepholeLSTM)
