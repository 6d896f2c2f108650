"""The text of `xrnn info`: the selected backend, the reason, and the form of each operation."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from xrnn.backend import OPERATIONS, fused_forms
from xrnn.ops.cell import Cell
from xrnn.ops.cells import CELLS
from xrnn.ops.cells.rnn import LeakyRNNCell
from xrnn.precision import precision
from xrnn.select import GPU_CHOICE, Selection, select

_EXAMPLE = {"T": 50, "N": 16, "D": 64, "H": 256}
# The cells of `xrnn info --cell`, by the name that the tables of kernels use.
EXPLAINED: Final[dict[str, Cell]] = {
    "rnn": CELLS["rnn"](),
    "leak": LeakyRNNCell(0.5),
    "lstm": CELLS["lstm"](),
    "gru": CELLS["gru"](),
}


def selection_lines(selection: Selection) -> list[str]:
    """The backend, the source of the decision, and the reasons against other backends."""
    lines = [f"backend: {selection.backend.name} (decided by {selection.decided_by})"]
    return lines + [f"  not {name}: {why}" for name, why in selection.rejected.items()]


def config(selection: Selection | None = None) -> str:
    """The text of `show_config`. Raises as `get_backend` does."""
    selection = selection or select()
    backend = selection.backend
    lines = selection_lines(selection)
    lines += [f"{what}: {value}" for what, value in backend.describe().items()]
    lines += [f"fused forms: {'on' if fused_forms().enabled else 'off (XRNN_FUSED=0 or use_fused(False))'}"]
    lines += [f"precision: {precision().name} (decided by {precision().decided_by})"]
    return "\n".join([*lines, backend.explain_sizes(CELLS["rnn"](), _EXAMPLE, "float32")])


def config_data(selection: Selection, shapes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """`config` as data for JSON.   shapes: the sizes T, N, D and H of its forms."""
    backend, shapes, cell = selection.backend, shapes or _EXAMPLE, CELLS["rnn"]()
    forms = {
        dtype: {operation: asdict(backend.explain(operation, cell, shapes, dtype)) for operation in OPERATIONS}
        for dtype in ("float32", "float64")
    }
    return {
        "backend": backend.name,
        "decided_by": selection.decided_by,
        "rejected": selection.rejected,
        **backend.describe(),
        "fused_forms": fused_forms().enabled,
        "precision": precision().name,
        "sizes": dict(shapes),
        "forms": forms,
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
    cell     one of EXPLAINED

    Raises ValueError for an unknown device.
    """
    shapes = {"T": T, "N": N, "D": D, "H": H}
    if device is None:
        backend = (selection or select()).backend
        return "\n".join(backend.explain_sizes(EXPLAINED[cell], shapes, dtype) for dtype in ("float32", "float64"))
    gpu = importlib.import_module(GPU_CHOICE)
    if device not in gpu.DEVICES:
        raise ValueError(f"unknown device {device!r}: expected one of {', '.join(gpu.DEVICES)}")
    return "\n".join(gpu.tables(gpu.DEVICES[device], cell, shapes, dtype) for dtype in ("float32", "float64"))


def show_config() -> None:
    """Print the selected backend and the reason, its devices and libraries, and the form of each operation."""
    print(config())
