"""The comparison of xrnn.torch with PyTorch in miniature."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import report, torch_modules
from benchmarks.cases import SIZES


@pytest.mark.proof
@pytest.mark.needs("torch", "bench")
@pytest.mark.skipif(sys.platform == "win32", reason="stopping idle workers needs POSIX signals")
def test_the_command_writes_what_the_report_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch_modules.main(["--quick", "--rounds", "2", "--threads", "1", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "torch_modules.json").read_text())
    for cell in results["cases"]:
        assert set(cell["microseconds"]) == {"forward", "train", "train on data"}
        for times in cell["microseconds"].values():
            assert set(times) == {"torch", "xrnn.torch"}
            assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in times.values())
        assert max(cell["errors"]["xrnn.torch"].values()) < 1e-5
    capsys.readouterr()
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "torch.nn.RNN and xrnn.torch's" in printed
    assert "over 3 sizes, geometric mean: inference" in printed
    assert ", training on data " in printed


def test_each_cell_of_pytorch_is_measured_in_every_size() -> None:
    for cell in ("rnn", "lstm", "gru"):
        assert [case.sizes for case in torch_modules.CASES if case.cell == cell] == list(SIZES["gru"])
    assert len(torch_modules.CASES) == 3 * len(SIZES["gru"])
