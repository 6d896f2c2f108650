"""PyTorch's threads for the kernels: two sets of threads would take the CPUs from each other."""

from __future__ import annotations

import ctypes
import logging
import sys
from pathlib import Path
from typing import Final

import torch

from xrnn.backends.numpy import use_threads_of

_log: Final = logging.getLogger("xrnn.torch")


def share_threads() -> None:
    """Let the kernels compute on the threads of PyTorch's OpenMP library; on their own threads if there is none."""
    name = "libtorch_cpu.dylib" if sys.platform == "darwin" else "libtorch_cpu.so"
    try:
        use_threads_of(ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name)))
    except (OSError, AttributeError) as error:
        _log.debug("the kernels compute on threads of their own: %s", error)
