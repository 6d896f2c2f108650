"""Random numbers for the operands of a test."""

from __future__ import annotations

from typing import Any

import numpy as np

from xrnn.backend import Backend
from xrnn.ops.cell import Cell


def draw(*shape: int, dtype: str = "float32", seed: int | None = None) -> Any:
    """An array of this shape, on the host. Without a seed, the sum of the sizes is the seed."""
    return np.random.default_rng(sum(shape) if seed is None else seed).standard_normal(shape).astype(dtype)


def draw_on(backend: Backend, *shape: int, dtype: str = "float64", seed: int = 1) -> Any:
    return backend.asarray(draw(*shape, dtype=dtype, seed=seed))


def draw_initial(cell: Cell, N: int, H: int) -> list[Any]:
    """The states of a cell, on the host. A normaliser n is at least 1."""
    return [1 + abs(draw(N, H)) if state == "n" else draw(N, H) / 2 for state in cell.states]
