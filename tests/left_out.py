"""Leaves out tests that this machine can't run; the last lines give each reason, the number of tests, and the remedy.

@pytest.mark.proof                      a long check: only with XRNN_PROOF=1
@pytest.mark.needs("torch", "bench")    a library, and the extra of pyproject.toml that brings it

Tests that lack a library, and skipped tests, are written to pytest's cache as `xrnn/not_run`: {test or file: reason}.
.ci/run then runs them in an environment with all extras. The reason of a test that lacks hardware begins with "this
machine".
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Generator
from importlib.util import find_spec
from typing import Any, Final

import pytest

# The extra of each library that a test file imports at its top, itself or through another module of the tests.
_IMPORTS: Final = {
    **dict.fromkeys(("hypothesis", "autograd", "mpmath", "threadpoolctl"), "test"),
    "torch": "torch",
    "transformers": "bench",
    "onnx": "onnx",
    "onnxruntime": "bench",
    "cupy": "proof",
}
_LONG: Final = "the long checks ({}): .ci/proof runs them"

_left_out: dict[str, str] = {}  # a test or a file, as pytest's arguments name it → the reason
_skipped: dict[str, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file whose import fails because one of these libraries is missing is left out."""
    report = yield
    missing = re.search(r"No module named '(\w+)", str(report.longrepr)) if report.failed else None
    if missing and missing[1] in _IMPORTS:
        _left_out[report.nodeid] = _without(missing[1], _IMPORTS[missing[1]])
        report.outcome, report.longrepr, report.result = "passed", None, []
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {item: _reason(item) for item in items}
    left_out = [item for item in items if reasons[item]]
    _left_out.update((item.nodeid, reasons[item]) for item in left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not reasons[item]]


def _reason(item: pytest.Item) -> str:
    if item.get_closest_marker("proof") and os.environ.get("XRNN_PROOF") != "1":
        return _LONG
    missing = (_without(*mark.args) for mark in item.iter_markers("needs") if not find_spec(mark.args[0]))
    return next(missing, "")


def _without(library: str, extra: str) -> str:
    return f"what needs {library} ({{}}): pip install -e '.[{extra}]'"


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def _note_skip(report: pytest.CollectReport | pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = _left_out
    elif cache := getattr(session.config, "cache", None):
        not_run = {test: reason.format("1") for test, reason in _left_out.items() if reason != _LONG}
        cache.set("xrnn/not_run", not_run | _skipped)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Called when a worker of pytest-xdist ends. All workers collect the same tests."""
    _left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))  # a worker that crashed has no output


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, count in sorted(Counter(_left_out.values()).items()):
        terminalreporter.write_line(f"left out: {reason.format(count)}")
