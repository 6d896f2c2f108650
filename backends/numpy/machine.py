"""The description of the CPU and of NumPy's BLAS for `xrnn info`."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from xrnn.backends.numpy import blas


def describe() -> dict[str, str]:
    """The CPU, the instruction sets that NumPy found on it, and BLAS with its threads."""
    built: Any = np.show_config(mode="dicts")
    simd = built.get("SIMD Extensions", {})
    features = [*simd.get("baseline", []), *simd.get("found", [])] or ["no SIMD known to NumPy"]
    return {
        "NumPy": np.__version__,
        "device": f"CPU, {platform.machine()} with {', '.join(features)}, {os.cpu_count()} cores",
        "BLAS": blas.describe(),
    }
