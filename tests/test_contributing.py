"""CONTRIBUTING.md: the picture of the floors is the contract of imports; a forecast runs through the listed files."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import FrameType

import xrnn
from xrnn.commands.main import main

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


def test_a_forecast_runs_through_the_listed_files(workdir: Path, blank_pictures: None) -> None:
    """The files with a function that a run calls, which modules do not call when they are imported."""
    Path("s.csv").write_text("day,x\n" + "".join(f"2024-01-{day:02},{day % 7}\n" for day in range(1, 32)), "utf-8")
    called = set[str]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        called.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        assert main(["forecast", "s.csv", "--horizon", "2"]) == 0
    finally:
        sys.setprofile(None)
    package = Path(xrnn.__file__).parent
    files = {path.relative_to(package) for path in map(Path, called) if package in path.parents}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"`xrnn forecast FILE` runs through.*?(\|.*?)\n\n", text, re.DOTALL)
    used = {path.as_posix() for path in files if path.parts[0] in ("commands", "series")}
    assert used == {*re.findall(r"`(\S+\.py)`", table)}
