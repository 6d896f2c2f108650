"""The description of the CPU and of NumPy's BLAS for `xrnn info`."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

# BLAS libraries read their number of threads from these variables when they are loaded.
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")


def describe() -> dict[str, str]:
    """The CPU, the instruction sets that NumPy found on it, and BLAS with its threads."""
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]
    simd = built.get("SIMD Extensions", {})
    features = [*simd.get("baseline", []), *simd.get("found", [])] or ["no SIMD known to NumPy"]
    return {
        "NumPy": np.__version__,
        "device": f"CPU, {platform.machine()} with {', '.join(features)}, {os.cpu_count()} cores",
        "BLAS": f"{blas['name']} {blas.get('version', '')}, {_threads()}",
    }


def _threads() -> str:
    """The number of BLAS threads: from the library if threadpoolctl is installed, otherwise from the environment."""
    try:
        import threadpoolctl
    except ImportError:
        limits = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
        return ", ".join(limits) or "threads not limited by the environment (threadpoolctl would count them)"
    counts = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    return f"{'/'.join(map(str, sorted(counts))) or 'unknown'} threads"
