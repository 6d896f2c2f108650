"""Whether CuPy works here, found out by using it. Each failure names the missing piece and what mends it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

from xrnn.backend import BackendUnavailableError
from xrnn.optional import install_hint

_NO_DEVICE: Final = 100  # cudaErrorNoDevice


def import_cupy() -> Any:
    """The module.   Raises BackendUnavailableError where it is missing or broken."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise _broken(error) from error
        raise BackendUnavailableError(
            f"CuPy is not installed: {_install(13)} (or {_install(12)}, by what `nvidia-smi` shows as CUDA Version)",
            device_present=has_gpu(),
        ) from error
    except ImportError as error:
        raise _broken(error) from error
    return cupy


def has_gpu() -> bool:
    """Whether the machine seems to have an NVIDIA GPU: its driver makes device files, or nvidia-smi on Windows."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or shutil.which("nvidia-smi") is not None


def probe(cupy: Any) -> None:
    """Find a device, then allocate, run one compiled kernel and one small product: only then believe in the GPU.

    Raises BackendUnavailableError, which chains what went wrong.
    """
    _find_device(cupy)
    try:
        ones = cupy.zeros((2, 2), dtype="float32") + 1
        total = float((ones @ ones).sum())
    except Exception as error:
        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        raise BackendUnavailableError(
            f"CuPy {cupy.__version__} sees a GPU but can't compile or run on it ({_first_line(error)}): "
            f"{_install(major)}, which brings the parts of the CUDA toolkit that it needs",
            device_present=True,
        ) from error
    if total != 8.0:
        raise BackendUnavailableError(
            f"the GPU computed {total} where 8.0 is right: check it with `nvidia-smi -q`", device_present=True
        )


def _find_device(cupy: Any) -> None:
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        if getattr(error, "status", None) == _NO_DEVICE:
            raise _no_device() from error
        driver = runtime.driverGetVersion() // 1000
        needed = runtime.runtimeGetVersion() // 1000
        if 0 < driver < needed:
            raise BackendUnavailableError(
                f"CuPy {cupy.__version__} is built for CUDA {needed}, but the NVIDIA driver is for CUDA {driver}: "
                f"update the driver, or {_install(driver)}",
                device_present=has_gpu(),
            ) from error
        raise BackendUnavailableError(
            f"no working NVIDIA driver ({_first_line(error)}): install one, as with `apt install nvidia-driver`; "
            "`nvidia-smi` must list a GPU",
            device_present=has_gpu(),
        ) from error
    if count == 0:
        raise _no_device()


def _no_device() -> BackendUnavailableError:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    remedy = "`nvidia-smi -L` must list one" if visible is None else "`unset CUDA_VISIBLE_DEVICES`"
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    return BackendUnavailableError(f"the NVIDIA driver shows no CUDA device{hidden}: {remedy}")


def _broken(error: ImportError) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"CuPy is installed but can't be imported ({_first_line(error)}): `pip list` must show one cupy package; "
        f"remove what is there and {_install(13)}",
        device_present=has_gpu(),
    )


def _install(cuda: int) -> str:
    return install_hint(f"cuda{cuda}")


def _first_line(error: Exception) -> str:
    """The error in one line: CuPy's messages go on for many."""
    lines = str(error).strip(" =\n").splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
