"""What `xrnn info` prints: which backend, who decided, and which form of each operation will run."""

from __future__ import annotations

from xrnn.backend import OPERATIONS, fused_enabled
from xrnn.ops.rnn import RNNCell
from xrnn.select import select

_EXAMPLE = {"T": 50, "N": 16, "D": 64, "H": 256}


def config() -> str:
    """The text of `show_config`. Raises as `get_backend` does."""
    selection = select()
    backend = selection.backend
    lines = [f"backend: {backend.name} (decided by {selection.decided_by})"]
    lines += [f"  not {name}: {why}" for name, why in selection.rejected.items()]
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
