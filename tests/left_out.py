"""Leaves out tests that this machine can't run; the last lines give each reason, the number of tests, and the remedy.

@pytest.mark.proof                      a long check: only with XRNN_PROOF=1
@pytest.mark.needs("torch", "bench")    a library, and the extra of pyproject.toml that brings it

Tests that lack a library, and skipped tests, are written to pytest's cache as `xrnn/not_run`: {test or file: reason}.
.ci/run then runs them in an environment with all extras. The reason of a test that lacks hardware begins with "this
machine".
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

# Files that need a library but do not import it at the top.
_FILES: Final = {
    "standin/test_names.py": ("cupy", "proof"),
    "exchange/test_keras.py": ("keras", "keras"),
    "benchmarks/test_classify.py": ("torch", "bench"),
}
# The extra of each library that a test file imports at its top, itself or through another module of the tests.
_IMPORTS: Final = {
    **dict.fromkeys(("hypothesis", "autograd", "mpmath", "threadpoolctl"), "test"),
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "bench",
}
_HERE: Final = Path(__file__).parent

_LONG: Final = "the long checks ({}): .ci/proof runs them"

_left_out: dict[str, str] = {}  # a test or a file, as pytest's arguments name it → the reason
_skipped: dict[str, str] = {}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.suffix != ".py" or _HERE not in collection_path.parents:
        return None
    known = _FILES.get(collection_path.relative_to(_HERE).as_posix())
    imported = ((name, extra) for name, extra in _IMPORTS.items() if name in _imported(collection_path))
    for library, extra in filter(None, [known, *imported]):
        if not find_spec(library):
            _left_out[collection_path.relative_to(_HERE.parent).as_posix()] = _without(library, extra)
            return True
    return None


def _imported(path: Path) -> set[str]:
    """The packages that a file, and the tests' modules among its imports, import at the top."""
    packages, paths = set(), [path]
    for each in paths:  # which grows
        modules = _modules(each)
        packages |= {name.partition(".")[0] for name in modules}
        own = (_HERE.parent / f"{name.replace('.', '/')}.py" for name in modules if name.startswith("tests."))
        paths += [other for other in own if other.is_file() and other not in paths]
    return packages


@functools.cache
def _modules(path: Path) -> set[str]:
    """What a file imports at the top: modules, and names that may be modules."""
    imports = r"^(?:from|import) ([\w.]+)(?: import ([\w, ]+))?"
    found = re.findall(imports, path.read_text(encoding="utf-8"), re.MULTILINE)
    return {f"{module}.{name}".rstrip(".") for module, names in found for name in ("", *names.split(", "))}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {item: _reason(item) for item in items}
    left_out = [item for item in items if reasons[item]]
    _left_out.update((item.nodeid, reasons[item]) for item in left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not reasons[item]]


def _reason(item: pytest.Item) -> str:
    """Why the test is left out; empty if it runs."""
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
