"""The comparison of xrnn.torch with PyTorch in miniature."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import report, torch_modules
from benchmarks.cases import GATED


@pytest.mark.needs("torch", "bench")
@pytest.mark.skipif(sys.platform == "win32", reason="stopping idle workers needs POSIX signals")
def test_the_command_writes_what_the_report_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch_modules.main(["--quick", "--rounds", "2", "--threads", "1", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "torch_modules.json").read_text())
    for cell in results["cells"]:
        assert set(cell["microseconds"]) == {"forward", "train", "train on data"}
        for times in cell["microseconds"].values():
            assert set(times) == {"torch", "xrnn.torch"}
            assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in times.values())
        assert max(cell["errors"]["xrnn.torch"].values()) < 1e-5
    capsys.readouterr()
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "torch.nn.RNN and xrnn.torch's" in printed
    assert "over 3 cells, geometric mean: inference" in printed
    assert ", training on data " in printed
    for cell in results["cells"]:
        del cell["microseconds"]["train on data"]  # as in results from before it was measured
    (tmp_path / "torch_modules.json").write_text(json.dumps(results))
    report.main([str(tmp_path)])
    assert "training on data" not in capsys.readouterr().out


def test_what_pytorch_has_is_measured_in_every_size() -> None:
    sizes = [case.sizes for case in GATED if case.cell == "gru"]
    for cell in ("rnn", "lstm", "gru"):
        assert [case.sizes for case in torch_modules.CASES if case.cell == cell] == sizes
    assert len(torch_modules.CASES) == 3 * len(sizes)


def test_a_kind_that_the_quick_cases_lack_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        torch_modules.main(["--quick", "--cell", "gru"])
    assert "--quick has no case of --cell gru: leave out one of them" in capsys.readouterr().err
