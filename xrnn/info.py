"""The text of `xrnn info`: the selected backend, the reason, and the form of each operation."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from xrnn.arrays.select import Selection, select
from xrnn.backend import MULTIPLYING, OPERATIONS, Backend, Explanation, Operation, fused_forms
from xrnn.cells import CELLS, VARIANTS, cell_of
from xrnn.ops.cell import Cell
from xrnn.ops.cells.rnn import RNNCell
from xrnn.precision import precision

_EXAMPLE = {"T": 50, "N": 16, "D": 64, "H": 256}


def explained() -> dict[str, Cell]:
    """The cells of `xrnn info --cell` by name."""
    return {name: cell_of(name) for name in CELLS} | VARIANTS


def selection_lines(selection: Selection) -> list[str]:
    """The backend, the source of the decision, and the reasons against other backends."""
    lines = [f"backend: {selection.backend.name} (decided by {selection.decided_by})"]
    return lines + [f"  not {name}: {why}" for name, why in selection.rejected.items()]


def describe(backend: Backend) -> dict[str, str]:
    """Facts about a backend: its devices, its libraries and their versions."""
    return importlib.import_module(backend.info).describe(backend) if backend.info else {}


def explain(backend: Backend, operation: Operation, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> Explanation:
    """Which form of `operation` runs for these sizes (keys T, N, D, H; heads if Wh has several) and dtype, and why.

    A backend with several forms explains them in its module `info`, beside the operations' own conditions.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r}: expected one of {', '.join(OPERATIONS)}")
    default = Explanation("plain", f"the {backend.name} backend has no other form of it")
    if not fused_forms().enabled:
        why = "XRNN_FUSED=0 or use_fused(False)"
        if precision().bfloat16 and np.dtype(dtype) == np.float32 and operation in MULTIPLYING:
            why += "; factors of products rounded to bfloat16"
        default = Explanation("plain", why)
    elif not backend.info and backend.overrides(operation):
        default = Explanation("own", f"the {backend.name} backend replaces the plain form")
    if not backend.info:
        return default
    return importlib.import_module(backend.info).explain(backend, default, operation, cell, shapes, dtype)


def forms(backend: Backend, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> str:
    """The form of each operation for these sizes (keys T, N, D, H), and the backend's tables of them."""
    sizes = ", ".join(f"{letter}={size}" for letter, size in shapes.items())
    lines = [f"forms at {sizes}, {np.dtype(dtype).name}:"]
    for operation in OPERATIONS:
        explanation = explain(backend, operation, cell, shapes, dtype)
        lines.append(f"  {operation}: {explanation.form} ({explanation.why})")
    if backend.info and (tables := getattr(importlib.import_module(backend.info), "tables", None)):
        lines += filter(None, [tables(backend, cell, shapes, dtype)])
    return "\n".join(lines)


def config(selection: Selection | None = None) -> str:
    """The text of `show_config`. Raises as `get_backend` does."""
    selection = selection or select()
    backend = selection.backend
    lines = selection_lines(selection)
    lines += [f"{what}: {value}" for what, value in describe(backend).items()]
    lines += [f"fused forms: {'on' if fused_forms().enabled else 'off (XRNN_FUSED=0 or use_fused(False))'}"]
    lines += [f"precision: {precision().name} (decided by {precision().decided_by})"]
    return "\n".join([*lines, forms(backend, RNNCell(), _EXAMPLE, "float32")])


def explain_sizes(T: int, N: int, D: int, H: int, backend: Backend, cell: str) -> str:
    """The text of `xrnn info --explain`: the forms at these sizes, in float32 and in float64.

    cell   one of `explained`
    """
    shapes = {"T": T, "N": N, "D": D, "H": H}
    return "\n".join(forms(backend, explained()[cell], shapes, dtype) for dtype in ("float32", "float64"))


def show_config() -> None:
    """Print the selected backend and the reason, its devices and libraries, and the form of each operation."""
    print(config())
