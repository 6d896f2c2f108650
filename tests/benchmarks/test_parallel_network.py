"""The benchmark of networks of limited rate, at a tiny size where namespaces can be created, and its report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import parallel_network
from benchmarks.parallel_network import NetworkError, namespaces, report
from tests.errors import one_line
from tests.parallel.launch import NEEDS_MPI

_NEEDS_IP = pytest.mark.skipif(not (shutil.which("ip") and shutil.which("tc")), reason="needs ip and tc (iproute2)")


def _refusal(tmp_path: Path) -> str:
    """The reason why this process can't create a namespace; empty if it can."""
    try:
        with namespaces(2, 1000, tmp_path):
            return ""
    except NetworkError as error:
        return str(error)


@NEEDS_MPI
@_NEEDS_IP
@pytest.mark.proof
def test_ranks_in_namespaces(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if reason := _refusal(tmp_path):
        pytest.skip(reason)
    options = ["--rates", "1000", "--batch", "2", "--steps", "3", "--rounds", "2", "--updates", "2"]
    parallel_network.main([*options, "--json", str(tmp_path / "out.json")])
    networks = json.loads((tmp_path / "out.json").read_text())["networks"]
    assert [network["mbit_per_second"] for network in networks] == [0, 1000]
    for network in networks:
        assert network["means"].keys() == {"2 ranks", "3 ranks", "3 ranks, ring", "4 ranks"}
        assert all(len(network["seconds"][name]) == 2 for name in ("alone", "2 ranks", "overlap"))
    (limited,) = (each["means"]["2 ranks"] for each in networks[1:])
    assert limited["all"] > 0.8 * limited["bytes"] / (1e9 / 8)  # the messages have used the limited network
    assert "with overlap / without" in capfd.readouterr().out
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"xrnn{os.getpid()}" not in names


def test_the_report() -> None:
    means = {"2 ranks": {"one_number": 0.0, "all": 0.025, "bytes": 1_514_000}, "3 ranks": {"all": 0.05}}
    means |= {"3 ranks, ring": {"all": 0.03}, "4 ranks": {"all": 0.04}}
    seconds = {"alone": [0.01, 0.01], "2 ranks": [0.045, 0.045], "overlap": [0.09, 0.09]}
    networks = [{"mbit_per_second": rate, "means": means, "seconds": seconds} for rate in (0, 1448)]
    results: dict[str, Any] = {"machine": {"cpu": "C"}, "cell": "rnn", "batch": 2, "steps": 3, "rounds": 2}
    lines = report(results | {"networks": networks}).splitlines()
    assert lines[2] == "one mean of 1,514,000 bytes: measured (model)"
    assert lines[4].split() == ["no", "limit", "25.0", "(–)", "50.0", "(–)", "30.0", "(–)", "40.0", "(–)"]
    # 1448 Mbit/s of frames carry 1384.9 Mbit/s of data: 8.746 ms for 1,514,000 bytes.
    assert lines[5].split() == ["1,448", "25.0", "(8.7)", "50.0", "(11.7)", "30.0", "(11.7)", "40.0", "(13.1)"]
    assert lines[-1].split() == ["1,448", "45.0", "(18.7)", "2.40", "(2.40–2.40)", "2.00", "(2.00–2.00)"]


def test_without_the_right_to_create_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\necho 'Operation not permitted' >&2; exit 1\n")
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with (
        one_line(NetworkError, "ip netns add", "(Operation not permitted)", "expected root"),
        namespaces(2, 10, tmp_path),
    ):
        pass


@NEEDS_MPI
def test_without_iproute2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SystemExit):
        parallel_network.main([])
    assert "ip is not installed: expected it to limit the rate" in capsys.readouterr().err
