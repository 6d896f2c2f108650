"""The text of `show_config`: the backend and the reasons, the machine, and the form of each operation."""

from __future__ import annotations

import sys

import pytest

import xrnn
from tests.conftest import STANDIN
from tests.fresh import NO_CUPY, output_of
from xrnn import show_config, use_backend, use_fused
from xrnn.backend import OPERATIONS, Backend
from xrnn.backends.numpy import blas
from xrnn.info import config


def lines_of(backend: Backend) -> dict[str, str]:
    """The configuration with `backend` selected: a dict from the part before the colon of each line."""
    with use_backend(backend):
        return dict(line.strip().split(": ", 1) for line in config().splitlines() if ": " in line)


def test_the_backend_and_the_source_of_the_decision(backend: Backend) -> None:
    assert lines_of(backend)["backend"] == f"{backend.name} (decided by use_backend(<xrnn backend {backend.name}>))"


def test_the_form_of_each_operation_and_why(backend: Backend, form: str) -> None:
    lines = lines_of(backend)
    for operation in OPERATIONS:
        assert " (" in lines[operation]
    if form == "plain":
        assert lines["recurrence_forward"].startswith("plain (")
        assert lines["fused forms"] == "off (XRNN_FUSED=0 or use_fused(False))"
    else:
        assert lines["fused forms"] == "on"


def test_the_cpu_and_its_blas() -> None:
    lines = lines_of(xrnn.get_backend("numpy"))
    assert lines["device"].startswith("CPU, ")
    assert lines["device"].endswith(" cores")
    assert "compiled kernels" in lines


def test_another_blas_and_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "of_numpy", lambda: None)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    numpy = xrnn.get_backend("numpy")
    assert lines_of(numpy)["BLAS"].endswith("threads not limited by the environment (threadpoolctl would count them)")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert lines_of(numpy)["BLAS"].endswith(", OPENBLAS_NUM_THREADS=2, OMP_NUM_THREADS=3")


@pytest.mark.needs("threadpoolctl", "test")
def test_the_threads_of_another_blas_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "of_numpy", lambda: None)
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [{"user_api": "blas", "num_threads": 7}])
    assert lines_of(xrnn.get_backend("numpy"))["BLAS"].endswith(", 7 threads")


def test_the_devices_of_cupy() -> None:
    lines = lines_of(STANDIN)
    assert lines["device 1"].startswith("pretend GPU, compute capability 9.0")
    assert lines["matmul_add"] == "gemm (one cuBLAS call accumulates into its output)"


def test_the_reason_against_another_backend() -> None:
    assert output_of(NO_CUPY + "import xrnn; xrnn.show_config()").splitlines()[:2] == [
        "backend: numpy (decided by the default)",
        "  not cupy: CuPy is not installed: `pip install -e '.[cuda13]'` (or `pip install -e '.[cuda12]'`, "
        "by what `nvidia-smi` shows as CUDA Version)",
    ]


def test_show_config_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    with use_backend("numpy"), use_fused(False):
        show_config()
        assert capsys.readouterr().out == config() + "\n"
