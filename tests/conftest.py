"""The `backend` fixture: a test that takes it runs on every backend.

These are NumPy, the CuPy backend on the stand-in, and CuPy itself if there is a GPU (those tests carry the mark `gpu`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import standin_backend
from tests.standin import counting
from xrnn.arrays import registry
from xrnn.arrays.registry import recognize
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend, BackendUnavailableError, use_fused
from xrnn.backends.cupy import CupyBackend

# `make gpu-check` may run on a machine without hypothesis. Tests that need it are then left out.
pytest_plugins = ["tests.require_gpu", "tests.left_out", "tests.workers"]
if find_spec("hypothesis"):
    pytest_plugins += ["tests.examples"]

STANDIN = standin_backend.make()
recognize(STANDIN)

try:
    get_backend("cupy")
except BackendUnavailableError as error:
    NO_GPU = str(error)
    GPU_PARAMS = []
else:
    NO_GPU = ""
    GPU_PARAMS = [pytest.param("cupy", marks=pytest.mark.gpu)]


@pytest.fixture
def gpu() -> Iterator[CupyBackend]:
    """A backend of its own on the stand-in as a small GPU, with the emulator behind its RawModule."""
    with standin_backend.small() as backend:
        yield backend


@pytest.fixture(params=["numpy", "standin", *GPU_PARAMS])
def backend(request: pytest.FixtureRequest) -> Backend:
    return STANDIN if request.param == "standin" else get_backend(request.param)


@pytest.fixture(params=["fused", "plain"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    with use_fused(request.param == "fused"):
        yield request.param


@pytest.fixture
def no_waiting(backend: Backend) -> Callable[[], AbstractContextManager[None]]:
    """`with no_waiting():` raises an error on copies between host and device, and on synchronisation."""
    if backend is STANDIN:
        return counting.no_waiting
    if backend.reads_are_free:
        return nullcontext
    return _no_waiting_on_gpu


@pytest.fixture
def table_of_backends() -> Iterator[None]:
    """Restores the table of backends after the test."""
    get_backend("numpy")  # loaded now: loading it only within the test would make a second one later
    tables: list[dict[Any, Any]] = [registry.loaders, registry.loaded, registry.by_array_type]
    before = [table.copy() for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where commands compute on NumPy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XRNN_BACKEND", "numpy")
    return tmp_path


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib writes blank files: drawing would take most of the time of a small run."""
    if find_spec("matplotlib"):
        monkeypatch.setattr("matplotlib.figure.Figure.draw", lambda figure, renderer: None)


@contextmanager
def _no_waiting_on_gpu() -> Iterator[None]:
    import cupyx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy warns that it does not detect every synchronisation
        forbidden = cupyx.allow_synchronize(False)
        forbidden.__enter__()
    try:
        yield
    finally:
        forbidden.__exit__(None, None, None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # One line instead of one skip per test.
    if NO_GPU:
        terminalreporter.write_line(f"left out: tests on a GPU: make gpu-check runs them where there is one ({NO_GPU})")
