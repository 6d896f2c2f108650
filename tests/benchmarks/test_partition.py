"""The measurement of the partition: every division is timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed (extra `bench`)")

from benchmarks import partition
from benchmarks.cases import Case
from tests.built import NOT_BUILT
from xrnn.backends.numpy import kernels

if not kernels:
    pytest.skip(NOT_BUILT, allow_module_level=True)


def test_partition_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "CASES", (Case(3, 2, 4, 8), Case(2, 40, 3, 5)))
    partition.main(["--rounds", "2", "--threads", "2", "--cases", "H8", "--out", str(tmp_path)])
    (cell,) = json.loads((tmp_path / "partition.json").read_text())["cases"]
    assert cell["case"] == "T3-N2-D4-H8"
    assert cell["chosen"] == "1 thread, x first"
    assert [len(times) for times in cell["microseconds"].values()] == [2] * 6
    assert "chosen / best over 1 cases" in capsys.readouterr().out
