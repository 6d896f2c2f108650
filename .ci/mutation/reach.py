"""Which tests reach which line, and how long each takes: one run of all of them, measured by coverage.py."""

from __future__ import annotations

import glob
import json
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest

# Tests of other things than xrnn/ and backends/, and one that takes more of the address space than a trial has.
ELSEWHERE = ("benchmarks", "rehearsal", "cuda_emulator", "cuda/test_offsets.py")


def arguments() -> list[str]:
    # Plain assertions: what they would print is not read.
    left_out = [f"--ignore=tests/{name}" for name in ELSEWHERE]
    return ["-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist", *left_out]


class _Measured:
    """Plugin: names the running test to coverage, here and in the processes that it starts."""

    def __init__(self, measurement: coverage.Coverage) -> None:
        self._measurement = measurement
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        os.environ["MUTANTS_TEST"] = item.nodeid
        self._measurement.switch_context(item.nodeid)
        before = os.times()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = sum(os.times()[:4]) - sum(before[:4])
            self._measurement.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)


def measure(root: Path, out: Path, chosen: list[str]) -> None:
    """Write to `out`: `tests`, the seconds of each; `lines`, by module and line the tests that reach it; and
    `collected`, by module the lines that run while the tests are imported and collected, in no test.
    """
    with tempfile.TemporaryDirectory(prefix="xrnn-reach-") as folder:
        os.environ |= {"MUTANTS_REACH": folder, "MUTANTS_TEST": ""}
        measurement = coverage.Coverage(
            data_file=f"{folder}/of-tests", source=[str(root / "xrnn"), str(root / "backends")], config_file=False
        )
        measurement.start()
        plugin = _Measured(measurement)
        pytest.main([*arguments(), *chosen], plugins=[plugin])
        measurement.stop()
        data = measurement.get_data()
        for part in glob.glob(f"{folder}/of-process-*"):
            other = coverage.CoverageData(part)
            other.read()
            data.update(other)
        tests = {test: seconds for test, seconds in plugin.seconds.items() if test not in plugin.failed}
        numbers = {test: number for number, test in enumerate(tests)}
        lines = {
            Path(file).relative_to(root).as_posix(): {
                line: sorted(numbers[test] for test in reaching if test in numbers)
                for line, reaching in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        collected = {
            Path(file).relative_to(root).as_posix(): [
                line for line, reaching in data.contexts_by_lineno(file).items() if "" in reaching
            ]
            for file in data.measured_files()
        }
        kept = {"tests": list(tests.items()), "lines": lines, "collected": collected}
        out.write_text(json.dumps(kept), encoding="utf-8")


if __name__ == "__main__":
    measure(Path.cwd(), Path(sys.argv[1]), sys.argv[2:])
