"""The benchmark of C programs prints a row for each layer."""

from __future__ import annotations

import re
import shutil

import pytest

from benchmarks import c_program, machine
from xrnn import GRU


@pytest.mark.skipif(not (shutil.which("cc") and shutil.which("size")), reason="needs cc and size: apt-get install gcc")
def test_a_row_for_each_layer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(machine, "pin", lambda threads: None)
    monkeypatch.setattr(c_program, "_LAYERS", [(GRU, 2, 3)])
    monkeypatch.setattr(c_program, "_ROUNDS", 1)
    monkeypatch.setattr(c_program, "_STEPS", 100)
    c_program.main()
    rows = capsys.readouterr().out.splitlines()[-2:]
    # The state holds h (3) and scratch memory z (12) in float32; of a quantized layer also 3 bytes, padded to 4.
    for title, size, row in zip(("GRU", "quantized GRU"), (60, 64), rows, strict=True):
        assert re.fullmatch(rf"\| {title}\(2 → 3\) \| [\d.]+ kB \| {size} B \|( [\d.]+ µs \|){{3}}", row)
