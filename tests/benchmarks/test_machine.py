"""The files of results: one line for each measured case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed (extra `bench`)")

from benchmarks import machine

RESULTS = Path(machine.__file__).parent / "results"


def test_each_measured_case_has_a_line(tmp_path: Path) -> None:
    cases = [{"case": "a", "microseconds": {"xrnn": [1.0, 2.0]}}, {"case": "b", "microseconds": {}}]
    results = {"machine": {"cpu": "some CPU", "threads": 2}, "cases": cases, "forms": {"cases": cases, "dropped": []}}
    path = machine.write(results, tmp_path / "new" / "results.json")
    assert machine.read(path) == results
    lines = [line.strip().rstrip(",") for line in path.read_text().splitlines()]
    assert [json.loads(line) for line in lines if line.startswith('{"case"')] == 2 * cases
    assert len(lines) == 14
    assert not list(path.parent.glob("*.new"))


def test_the_file_is_renamed_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("the one before")
    with pytest.raises(TypeError):
        machine.write({"not": object()}, path)
    assert path.read_text() == "the one before"
    assert machine.write({"a": 1}, path) == path
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
