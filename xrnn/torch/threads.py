"""The kernels run on PyTorch's threads, because two sets of threads would compete for the CPUs."""

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
    """Run the kernels on the threads of PyTorch's OpenMP library, or on their own threads if it has none."""
    name = "libtorch_cpu.dylib" if sys.platform == "darwin" else "libtorch_cpu.so"
    try:
        use_threads_of(ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name)))
    except (OSError, AttributeError) as error:
        _log.debug("the kernels run on their own threads: %s", error)
