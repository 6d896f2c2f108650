"""What `xrnn info` prints: which backend, who decided, and which form of each operation will run."""

from __future__ import annotations

from xrnn.backend import OPERATIONS, fused_enabled
from xrnn.ops.rnn import RNNCell
from xrnn.select import Selection, select

_EXAMPLE = {"T": 50, "N": 16, "D": 64, "H": 256}


def selection_lines(selection: Selection) -> list[str]:
    """Which backend, who decided, and why others were passed over."""
    lines = [f"backend: {selection.backend.name} (decided by {selection.decided_by})"]
    return lines + [f"  not {name}: {why}" for name, why in selection.rejected.items()]


def config() -> str:
    """The text of `show_config`. Raises as `get_backend` does."""
    selection = select()
    backend = selection.backend
    lines = selection_lines(selection)
    lines += [f"{what}: {value}" for what, value in backend.describe().items()]
    lines += [f"fused forms: {'on' if fused_enabled() else 'off (XRNN_FUSED=0 or use_fused(False))'}"]
    sizes = ", ".join(f"{letter}={size}" for letter, size in _EXAMPLE.items())
    lines += [f"forms at {sizes}, float32:"]
    for operation in OPERATIONS:
        explanation = backend.explain(operation, RNNCell(), _EXAMPLE, "float32")
        lines += [f"  {operation}: {explanation.form} ({explanation.why})"]
    return "\n".join(lines)


def show_config() -> None:
    """Print which backend is selected and why, its devices and libraries, and the form each operation takes."""
    print(config())
