"""With XRNN_REQUIRE_GPU=1, a session fails if no test marked `gpu` passed."""

from __future__ import annotations

import os

import pytest

_passed = 0


def _required() -> bool:
    return os.environ.get("XRNN_REQUIRE_GPU") == "1"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    global _passed
    _passed += report.when == "call" and report.passed and "gpu" in report.keywords


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _required() and not _passed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _required() and not _passed:
        terminalreporter.write_line(
            "FAILED: XRNN_REQUIRE_GPU=1, but no test marked gpu passed: check `xrnn info` and `nvidia-smi`"
        )
