"""The text of `xrnn info`: the selected backend, the reason, and the form of each operation."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from xrnn.backend import OPERATIONS, Backend, fused_forms
from xrnn.cells import CELLS, LEAK, cell_of
from xrnn.ops.cell import Cell
from xrnn.ops.cells.rnn import LeakyRNNCell, RNNCell
from xrnn.precision import precision
from xrnn.select import GPU_CHOICE, Selection, select

_EXAMPLE = {"T": 50, "N": 16, "D": 64, "H": 256}


def explained() -> dict[str, Cell]:
    """The cells of `xrnn info --cell` by name: those of the table, and the leaky RNN."""
    return {name: cell_of(name) for name in CELLS} | {LEAK: LeakyRNNCell(0.5)}


def selection_lines(selection: Selection) -> list[str]:
    """The backend, the source of the decision, and the reasons against other backends."""
    lines = [f"backend: {selection.backend.name} (decided by {selection.decided_by})"]
    return lines + [f"  not {name}: {why}" for name, why in selection.rejected.items()]


def describe(backend: Backend) -> dict[str, str]:
    """Facts about a backend: its devices, its libraries and their versions."""
    facts: dict[str, str] = importlib.import_module(backend.info).describe(backend) if backend.info else {}
    return facts


def forms(backend: Backend, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> str:
    """The form of each operation for these sizes (keys T, N, D, H), and the backend's tables of them."""
    sizes = ", ".join(f"{letter}={size}" for letter, size in shapes.items())
    lines = [f"forms at {sizes}, {np.dtype(dtype).name}:"]
    for operation in OPERATIONS:
        explanation = backend.explain(operation, cell, shapes, dtype)
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


def config_data(selection: Selection, shapes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """`config` as data for JSON.   shapes: the sizes T, N, D and H of its forms."""
    backend, shapes, cell = selection.backend, shapes or _EXAMPLE, RNNCell()
    by_dtype = {
        dtype: {operation: asdict(backend.explain(operation, cell, shapes, dtype)) for operation in OPERATIONS}
        for dtype in ("float32", "float64")
    }
    return {
        "backend": backend.name,
        "decided_by": selection.decided_by,
        "rejected": selection.rejected,
        **describe(backend),
        "fused_forms": fused_forms().enabled,
        "precision": precision().name,
        "sizes": dict(shapes),
        "forms": by_dtype,
    }


def explain_sizes(
    T: int,
    N: int,
    D: int,
    H: int,
    device: str | None = None,
    selection: Selection | None = None,
    cell: str = "rnn",
) -> str:
    """The text of `xrnn info --explain`: the forms at these sizes, in float32 and in float64.

    device   the name of a GPU, which need not be present; None for the selected backend
    cell     one of `explained`

    Raises ValueError for an unknown device, and for a device and a cell without a CUDA kernel.
    """
    shapes = {"T": T, "N": N, "D": D, "H": H}
    if device is None:
        backend = (selection or select()).backend
        return "\n".join(forms(backend, explained()[cell], shapes, dtype) for dtype in ("float32", "float64"))
    gpu = importlib.import_module(GPU_CHOICE)
    if device not in gpu.DEVICES:
        raise ValueError(f"unknown device {device!r}: expected one of {', '.join(gpu.DEVICES)}")
    return "\n".join(gpu.tables(gpu.DEVICES[device], cell, shapes, dtype) for dtype in ("float32", "float64"))


def show_config() -> None:
    """Print the selected backend and the reason, its devices and libraries, and the form of each operation."""
    print(config())
