"""The NumPy backend: the CPU, always there."""

from __future__ import annotations

import numpy as np

from xrnn.backend import Backend
from xrnn.ops.rnn import Array

try:
    from xrnn.backends.numpy import _kernels as kernels
except ImportError:  # no compiler at install time, or a checkout that was never installed
    kernels = None  # type: ignore[assignment]


class NumpyBackend(Backend):
    """Arrays in host memory."""

    name = "numpy"
    reads_are_free = True

    def __init__(self) -> None:
        super().__init__(np)

    def add_rows(self, rows: Array, index: Array, out: Array) -> None:
        """out[v] = Σ rows[i] over the i with index[i] = v: sort once, then sum each run of equal indices."""
        order = np.argsort(index, kind="stable")
        ordered = index[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        out[...] = 0
        if len(starts):
            out[ordered[starts]] = np.add.reduceat(rows[order], starts, axis=0)

    def describe(self) -> dict[str, str]:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {
            "NumPy": np.__version__,
            "BLAS": f"{blas['name']} {blas['version']}",
            "compiled kernels": kernels.compiler() if kernels else "not built (`pip install -v -e .` says why)",
        }


def load() -> NumpyBackend:
    return NumpyBackend()
