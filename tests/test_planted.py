"""The table of `.ci/planted.py` fits the sources. After a refactoring, a row needs the new form of its text."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = tomllib.loads((ROOT / ".ci/planted.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", [row for rows in TABLE.values() for row in rows], ids=lambda row: row[0])
def test_the_text_of_a_defect_occurs_once(row: list[str]) -> None:
    _, file, text, replacement, tests = row
    assert text != replacement
    assert (ROOT / file).read_text(encoding="utf-8").count(text) == 1
    assert all((ROOT / test).is_file() for test in tests.split())
