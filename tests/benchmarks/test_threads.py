"""Each setting of OMP_NUM_THREADS reaches its own process and has a row in the table."""

from __future__ import annotations

import io
import os
import sys

import pytest
from rich.console import Console

from benchmarks import threads
from benchmarks.cases import Case
from benchmarks.processes import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stopping idle workers needs POSIX signals")


def test_the_table_has_a_row_for_each_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # must not reach the process without the variable
    settings = [threads.UNSET, "64"]
    results = threads.measure_threads(["xrnn", "numpy"], settings, Case(T=3, N=1, D=4, H=8), rounds=2)
    assert list(results["microseconds"]) == settings
    for by_peer in results["microseconds"].values():
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in by_peer.values())
    console = Console(file=io.StringIO(), width=120)
    threads.print_threads(results, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.split()[0] for line in printed.splitlines()[-3:-1]] == settings


def test_no_round_starts_after_the_time_limit() -> None:
    results = threads.measure_threads(["numpy"], [threads.UNSET], Case(T=3, N=1, D=4, H=8), rounds=9, seconds=0.0)
    assert len(results["microseconds"][threads.UNSET]["numpy"]) == 1


def test_settings_include_more_threads_than_cpus() -> None:
    cpus = os.cpu_count() or 1
    assert {threads.UNSET, "1", str(cpus), str(cpus + 1), "64"} <= set(threads.settings())


def test_without_a_number_each_library_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in environment(None)
    assert environment(2)["OMP_NUM_THREADS"] == "2"
