"""A cell with parameters of its own, built in as CONTRIBUTING.md says: a cell file, a layer file and two table rows.

Only tests use it, so the rows are added by the fixture that calls `build_in`.
"""

from __future__ import annotations

import pytest

from tests.peephole.cell import PeepholeLSTMCell
from tests.peephole.layer import PeepholeLSTM
from xrnn import cells
from xrnn.ops import cells as ops_cells


def build_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ops_cells.CELLS, "peephole_lstm", PeepholeLSTMCell)
    monkeypatch.setitem(cells.CELLS, "peephole_lstm", cells.Row(PeepholeLSTM, {}))
