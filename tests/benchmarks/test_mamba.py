"""benchmarks.mamba at tiny sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import machine, mamba
from tests.needs_kernels import NEEDS_KERNELS

pytestmark = [
    NEEDS_KERNELS,
    pytest.mark.needs("transformers", "bench"),
    pytest.mark.needs("mambapy", "bench"),
    pytest.mark.needs("jax", "bench"),
]


def test_all_libraries_are_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mamba.main(["--quick", "--rounds", "1", "--threads", "1", "--out", str(tmp_path)])
    results = machine.read(tmp_path / "mamba-1.json")
    assert [set(row["microseconds"]) for row in results["scans"]] == [set(mamba.SCAN_PEERS)] * 2
    assert [set(row["microseconds"]) for row in results["chunk scans"]] == [set(mamba.CHUNK_SCAN_PEERS)] * 2
    assert [set(row["microseconds"]) for row in results["models"]] == [set(mamba.MODEL_PEERS["Mamba"])] * 3
    of_mamba2 = [set(row["microseconds"]) for row in results["models of Mamba-2"]]
    assert of_mamba2 == [set(mamba.MODEL_PEERS["Mamba2"])] * 3
    assert [set(row["peak_bytes"]) for row in results["memory"]] == list(map(set, mamba.MODEL_PEERS.values()))
    assert [set(row["microseconds"]) for row in results["mlstms"]] == [set(mamba.MLSTM_PEERS)] * 2
    mamba.main(["--threads", "1", "--out", str(tmp_path), "--draw", str(tmp_path / "mamba.png")])
    assert (tmp_path / "mamba.png").stat().st_size > 10_000
    printed = capfd.readouterr().out
    assert "selective scan: training" in printed
    assert "scan of Mamba-2: training" in printed
    assert "mLSTM layer: training" in printed
    assert "MambaForCausalLM, 4 layers: one token" in printed
    assert "Mamba2ForCausalLM, 4 layers: one token" in printed


def test_a_wrong_result_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"mamba\.py, forward: results differ by 5\.0e-01"):
        mamba._errors({"xrnn": [np.ones(2)], "mamba.py": [np.array([1, 0.5])]}, [np.ones(2)], "forward")
