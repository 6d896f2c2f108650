"""CONTRIBUTING.md sends its readers to names in files: each must be defined there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
NAMES_OF_FILES = re.findall(r"`(\w+)` (?:of|in) `([\w/]+\.(?:py|cpp))`", TEXT)
FOLDERS = ("xrnn", "backends", "benchmarks", "tests")


@pytest.mark.parametrize(("name", "file"), NAMES_OF_FILES)
def test_a_name_is_defined_in_the_file_beside_it(name: str, file: str) -> None:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob(Path(file).name)]
    of_language = rf"(def|class) {name}\b|^{name}\b.*=" if file.endswith(".py") else rf"^\S.* {name}\("
    definition = re.compile(of_language, re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in paths if path.as_posix().endswith("/" + file)]
    assert any(definition.search(text) for text in texts)


def test_such_names_are_found() -> None:
    assert ("scores_of", "xrnn/series/forecast/fit.py") in NAMES_OF_FILES
