"""A new cell needs only the steps that CONTRIBUTING.md lists. tests/peephole has a cell that was added in this way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xrnn
from tests import peephole, reference
from tests.peephole.cell import PeepholeLSTMCell
from tests.peephole.layer import PeepholeLSTM
from xrnn import Bidirectional, Stack, check_cell
from xrnn.backend import RECURRENCES, Backend

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = re.findall(r"## Add a cell\n(.*?)\n## ", CONTRIBUTING, re.DOTALL)[0]
FILES = re.findall(r"^\d\. `([^`]*NAME[^`]*)`", SECTION, re.MULTILINE)


def test_the_section_lists_three_files_and_a_table_row() -> None:
    assert [Path(file).suffix for file in FILES] == [".py", ".py", ".h"]
    assert "`CELLS` of `tests/reference.py`" in SECTION
    assert reference.CELLS


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_the_built_in_cells_are_in_the_files_that_the_section_lists(name: str) -> None:
    cell, layer, _ = (ROOT / file.replace("NAME", name) for file in FILES)
    assert f'name = "{name}"' in cell.read_text(encoding="utf-8")
    assert f"class {name.upper()}(" in layer.read_text(encoding="utf-8")
    assert name.upper() in xrnn.__all__


def test_a_cell_needs_only_its_files_and_its_table_row(backend: Backend) -> None:
    folder = Path(peephole.__file__).parent
    assert sorted(path.name for path in folder.glob("*.py")) == ["__init__.py", "cell.py", "layer.py"]
    assert reference.CELLS["peephole lstm"].layer is PeepholeLSTM
    # No kernel and no other table has this cell, so every backend runs it in the plain form.
    sizes = {"T": 5, "N": 3, "D": 4, "H": 6}
    for operation in RECURRENCES:
        explanation = backend.explain(operation, PeepholeLSTMCell(), sizes, "float32")
        assert explanation.form == "plain"
        assert "'peephole_lstm'" in explanation.why or "not built" in explanation.why


def test_the_layer_works_in_stacks_with_lengths_and_as_a_stream(backend: Backend) -> None:
    check_cell(PeepholeLSTMCell(), backend=backend)
    stack = Stack.init(PeepholeLSTM, 4, 5, 2, bidirectional=True, rng=0, backend=backend)
    x = backend.asarray(np.ones((6, 3, 4), "float32"))
    h, states = stack.forward(x, lengths=[6, 0, 3])
    dx, dstates = stack.backward(h, states)
    assert dx.shape == x.shape
    assert len(dstates) == 2
    first: Any = stack.layers[0]
    assert isinstance(first, Bidirectional)
    layer: Any = first.layers[0]
    (h, _), (rest, _) = layer(x), layer.stream(x[3:], layer.stream(x[:3])[1])
    np.testing.assert_allclose(backend.to_numpy(rest), backend.to_numpy(h[3:]), rtol=1e-6)
