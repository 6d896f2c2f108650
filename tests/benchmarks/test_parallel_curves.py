"""The loss curves of several ranks, at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import parallel_curves
from tests.models.texts import write_text
from tests.parallel.launch import NEEDS_MPI
from xrnn.commands.pictures import is_own_picture


@pytest.mark.proof
@NEEDS_MPI
@pytest.mark.needs("matplotlib", "plot")
def test_the_curves_are_measured_and_drawn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_text(tmp_path / "text")
    options = ["--hidden", "4", "--batch", "4", "--steps", "3", "--json", str(tmp_path / "out.json")]
    parallel_curves.main([str(tmp_path / "text"), *options, "--picture", str(tmp_path / "out.png")])
    results = json.loads((tmp_path / "out.json").read_text())
    assert results["losses"].keys() == {"1", "2", "3"}
    for ranks in (2, 3):
        assert len(results["losses"][str(ranks)]) == 3
        np.testing.assert_allclose(results["losses"][str(ranks)], results["losses"]["1"], rtol=1e-5)
    assert is_own_picture((tmp_path / "out.png").read_bytes())
    assert "3 ranks: " in capfd.readouterr().out


def test_the_report_gives_the_largest_differences() -> None:
    losses = {"1": [2.0] * 101, "2": [2.0] * 100 + [2.5], "3": [2.25] + [2.0] * 100}
    lines = parallel_curves.report({"machine": {"cpu": "C"}, "options": {"batch": "4"}, "losses": losses}).splitlines()
    assert lines[2].endswith("at most 0.0e+00 in the first 100 updates, 5.0e-01 in all")
    assert lines[3].endswith("at most 2.5e-01 in the first 100 updates, 2.5e-01 in all")


def test_a_batch_smaller_than_the_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parallel_curves.main(["--batch", "2"])
    assert "--batch is 2: expected at least 3" in capsys.readouterr().err
