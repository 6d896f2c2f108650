"""A new cell needs only the steps that CONTRIBUTING.md lists. tests/peephole has a cell that was added in this way."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import xrnn
from tests import peephole, reference
from tests.peephole.layer import PeepholeLSTM

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = re.findall(r"## Add a cell\n(.*?)\n## ", CONTRIBUTING, re.DOTALL)[0]
FILES = re.findall(r"^\d\. `([^`]*NAME[^`]*)`", SECTION, re.MULTILINE)


def test_the_picture_of_the_floors_is_the_contract_of_imports() -> None:
    (picture,) = re.findall(r"^```text\n(commands.*?)```", CONTRIBUTING, re.DOTALL | re.MULTILINE)
    drawn = {name: floor for floor, line in enumerate(picture.splitlines()) for name in line.split()}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]
    floors = {name: floor for floor, line in enumerate(layers) for name in re.findall(r"\w+", line)}
    assert drawn.keys() == floors.keys()
    for above in floors:
        for below in floors:
            assert floors[above] >= floors[below] or drawn[above] < drawn[below], (above, below)


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


def test_a_cell_needs_only_its_files_and_its_table_row() -> None:
    """No other table has this cell: tests/test_cells.py tries all formats with it."""
    folder = Path(peephole.__file__).parent
    assert sorted(path.name for path in folder.glob("*.py")) == ["__init__.py", "cell.py", "layer.py"]
    assert reference.CELLS["peephole lstm"].layer is PeepholeLSTM
