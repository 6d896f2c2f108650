"""`pytest benchmarks` needs pytest-benchmark: one line says so, instead of an error for each test."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("benchmark"):
        pytest.exit("pytest-benchmark is not installed. Remedy: pip install -e '.[dev]'", pytest.ExitCode.USAGE_ERROR)
