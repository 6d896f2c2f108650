"""The text of `xrnn info`: the selected backend, the reason, and the form of each operation."""

from __future__ import annotations

import importlib

from xrnn.backend import fused_enabled
from xrnn.select import GPU_CHOICE, Selection, select

_EXAMPLE = {"T": 50, "N": 16, "D": 64, "H": 256}


def selection_lines(selection: Selection) -> list[str]:
    """The backend, the source of the decision, and the reasons against other backends."""
    lines = [f"backend: {selection.backend.name} (decided by {selection.decided_by})"]
    return lines + [f"  not {name}: {why}" for name, why in selection.rejected.items()]


def config() -> str:
    """The text of `show_config`. Raises as `get_backend` does."""
    selection = select()
    backend = selection.backend
    lines = selection_lines(selection)
    lines += [f"{what}: {value}" for what, value in backend.describe().items()]
    lines += [f"fused forms: {'on' if fused_enabled() else 'off (XRNN_FUSED=0 or use_fused(False))'}"]
    return "\n".join([*lines, backend.explain_sizes(_EXAMPLE, "float32")])


def explain_sizes(T: int, N: int, D: int, H: int, device: str | None = None) -> str:
    """The text of `xrnn info --explain`: the forms at these sizes, in float32 and in float64.

    device   the name of a GPU, which need not be present; None for the selected backend

    Raises ValueError for an unknown device.
    """
    if device is None:
        shapes = {"T": T, "N": N, "D": D, "H": H}
        return "\n".join(select().backend.explain_sizes(shapes, dtype) for dtype in ("float32", "float64"))
    gpu = importlib.import_module(GPU_CHOICE)
    if device not in gpu.DEVICES:
        raise ValueError(f"unknown device {device!r}: expected one of {', '.join(gpu.DEVICES)}")
    return "\n".join(gpu.table(gpu.DEVICES[device], dtype, T, N, D, H) for dtype in ("float32", "float64"))


def show_config() -> None:
    """Print the selected backend and the reason, its devices and libraries, and the form of each operation."""
    print(config())
