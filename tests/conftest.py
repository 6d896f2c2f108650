"""The `backend` fixture: each numerical test is written once and runs on every backend.

NumPy; CuPy's adapter on the stand-in; and, where there is a GPU, real CuPy, whose tests carry the mark `gpu`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec

import pytest

from tests import standin_backend
from tests.standin import counting
from xrnn.backend import Backend, BackendUnavailableError, use_fused
from xrnn.select import get_backend, register

# A bare GPU machine may lack hypothesis; `make gpu-check` then leaves out the tests that need it.
pytest_plugins = ["tests.require_gpu", "tests.left_out", "tests.workers"]
if find_spec("hypothesis"):
    pytest_plugins += ["tests.examples"]

STANDIN = standin_backend.make()
register(STANDIN)

try:
    get_backend("cupy")
except BackendUnavailableError as error:
    NO_GPU = str(error)
    GPU_PARAMS = []
else:
    NO_GPU = ""
    GPU_PARAMS = [pytest.param("cupy", marks=pytest.mark.gpu)]


@pytest.fixture(params=["numpy", "standin", *GPU_PARAMS])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend in turn."""
    return STANDIN if request.param == "standin" else get_backend(request.param)


@pytest.fixture(params=["fused", "plain"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """The fused forms, where the backend has them, then the plain form."""
    with use_fused(request.param == "fused"):
        yield request.param


@pytest.fixture
def no_waiting(backend: Backend) -> Callable[[], AbstractContextManager[None]]:
    """`with no_waiting():` fails on a copy between host and device, and on a read that waits for the device."""
    if backend is STANDIN:
        return counting.no_waiting
    if backend.reads_are_free:
        return nullcontext
    return _no_waiting_on_gpu


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib writes its files without drawing into them, which is most of the time of a small run."""
    if find_spec("matplotlib"):
        monkeypatch.setattr("matplotlib.figure.Figure.draw", lambda figure, renderer: None)


@contextmanager
def _no_waiting_on_gpu() -> Iterator[None]:
    import cupyx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy warns that it can't see every wait
        forbidden = cupyx.allow_synchronize(False)
        forbidden.__enter__()
    try:
        yield
    finally:
        forbidden.__exit__(None, None, None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # One line in place of a skip for each test.
    if NO_GPU:
        terminalreporter.write_line(f"left out: tests on a GPU: make gpu-check runs them where there is one ({NO_GPU})")
