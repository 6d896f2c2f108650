"""The probe's failures: each names the missing piece and the command that mends it, and chains its cause."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import standin
from tests.fresh import run_python
from tests.standin.cuda.runtime import CUDARuntimeError
from xrnn.backend import BackendUnavailableError
from xrnn.backends.cupy.probe import has_gpu, import_cupy, probe


def fake_cupy(*, devices: Any = 1, driver: int = 13_000, zeros: Any = standin.zeros) -> Any:
    """A CuPy whose device count, driver and arrays are as given; an exception is raised in place of returned."""

    def count() -> int:
        if isinstance(devices, Exception):
            raise devices
        return int(devices)

    runtime = SimpleNamespace(getDeviceCount=count, driverGetVersion=lambda: driver, runtimeGetVersion=lambda: 13_000)
    return SimpleNamespace(__version__="14.2.0", cuda=SimpleNamespace(runtime=runtime), zeros=zeros)


def failure(cupy: Any) -> BackendUnavailableError:
    with pytest.raises(BackendUnavailableError) as caught:
        probe(cupy)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_working_gpu_passes() -> None:
    probe(standin)


INSUFFICIENT = CUDARuntimeError(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient")
UNKNOWN = CUDARuntimeError(999, "cudaErrorUnknown: unknown error")
NO_DEVICE = CUDARuntimeError(100, "cudaErrorNoDevice: no CUDA-capable device is detected")
NO_COMPILER = RuntimeError("\n=====\nCuPy failed to load libnvrtc.so.13: OSError\n=====\nmore lines\n")


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise NO_COMPILER


NO_DRIVER = (
    "no working NVIDIA driver (CUDARuntimeError: {}): install one, as with `apt install nvidia-driver`; `nvidia-smi`"
)
OLD_DRIVER = (
    "CuPy 14.2.0 is built for CUDA 13, but the NVIDIA driver is for CUDA 12: update the driver, or "
    "`pip install -e '.[cuda12]'`"
)
NONE_SHOWN = "the NVIDIA driver shows no CUDA device: `nvidia-smi -L` must list one"
NO_TOOLKIT = (
    "CuPy 14.2.0 sees a GPU but can't compile or run on it (RuntimeError: CuPy failed to load libnvrtc.so.13: "
    "OSError): `pip install -e '.[cuda13]'`, which brings the parts of the CUDA toolkit that it needs"
)


@pytest.mark.parametrize(
    ("cupy", "cause", "message"),
    [
        (fake_cupy(devices=INSUFFICIENT, driver=0), INSUFFICIENT, NO_DRIVER.format(INSUFFICIENT)),
        (fake_cupy(devices=UNKNOWN), UNKNOWN, NO_DRIVER.format(UNKNOWN)),
        (fake_cupy(devices=INSUFFICIENT, driver=12_040), INSUFFICIENT, OLD_DRIVER),
        (fake_cupy(devices=NO_DEVICE), NO_DEVICE, NONE_SHOWN),
        (fake_cupy(devices=0), None, NONE_SHOWN),
        (fake_cupy(zeros=refuse), NO_COMPILER, NO_TOOLKIT),
        (fake_cupy(zeros=standin.ones), None, "the GPU computed 32.0 where 8.0 is right: check it with `nvidia-smi"),
    ],
)
def test_failures(cupy: Any, cause: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    error = failure(cupy)
    assert str(error).startswith(message)
    assert error.__cause__ == cause


@pytest.mark.parametrize("gpu", [False, True])
def test_the_errors_say_whether_there_is_a_gpu(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["xrnn.backends.cupy.probe"], "has_gpu", lambda: gpu)
    assert failure(fake_cupy(devices=UNKNOWN)).device_present is gpu
    assert failure(fake_cupy(devices=INSUFFICIENT, driver=12_040)).device_present is gpu
    assert not failure(fake_cupy(devices=NO_DEVICE)).device_present  # it may be hidden on purpose
    assert failure(fake_cupy(zeros=refuse)).device_present
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendUnavailableError) as caught:
        import_cupy()
    assert caught.value.device_present is gpu
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert str(caught.value) == (
        "CuPy is not installed: `pip install -e '.[cuda13]'` (or `pip install -e '.[cuda12]'`, by what `nvidia-smi` "
        "shows as CUDA Version)"
    )


def test_nvidia_smi_is_a_sign_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert has_gpu()


def test_hidden_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert str(failure(fake_cupy(devices=0))) == (
        "the NVIDIA driver shows no CUDA device (CUDA_VISIBLE_DEVICES is '7'): `unset CUDA_VISIBLE_DEVICES`"
    )


@pytest.mark.parametrize("line", ["raise ImportError('libcudart.so.13: cannot open')", "import nothing_of_this_name"])
def test_broken_installation(tmp_path: Path, line: str) -> None:
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").write_text(line)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import xrnn; xrnn.get_backend('cupy')"
    failed = run_python(code)
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert "CuPy is installed but can't be imported (" in last
    assert "remove what is there and `pip install -e '.[cuda13]'`" in last
    assert "direct cause" in failed.stderr
