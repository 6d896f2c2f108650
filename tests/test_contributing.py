"""The picture of the floors in CONTRIBUTING.md is the contract of imports."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_picture_of_the_floors_is_the_contract_of_imports() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"^```text\n(commands.*?)```", text, re.DOTALL | re.MULTILINE)
    drawn = {name: floor for floor, line in enumerate(picture.splitlines()) for name in line.split()}
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [each["layers"] for each in linter["contracts"] if each["type"] == "layers"]
    floors = {name: floor for floor, line in enumerate(layers) for name in re.findall(r"\w+", line)}
    assert drawn.keys() == floors.keys()
    for above in floors:
        for below in floors:
            assert floors[above] >= floors[below] or drawn[above] < drawn[below], (above, below)
