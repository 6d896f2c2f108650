"""The update-gate cell."""

from __future__ import annotations

from collections.abc import Sequence

from xrnn.ops.cell import Cell, Run, Step
from xrnn.ops.cells.gates import sigmoid
from xrnn.typing import Array


class UGRNNCell(Cell):
    """u = σ(z₀), y = tanh(z₁);  h' = y + u · (h - y)   (Collins et al., 2017)."""

    name = "ugrnn"
    pre = 2

    def step(self, run: Run, at: Step) -> None:
        (u, y), (h,), (h_next,) = at.z, at.before, at.after
        sigmoid(run.xp, u)
        run.xp.tanh(y, out=y)
        run.xp.subtract(h, y, out=h_next)
        h_next *= u
        h_next += y

    def gradient(self, run: Run, at: Step, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        """dz = dh' · ((h-y) · u(1-u), (1-u)(1-y²));  dh = dh' · u past z."""
        (u, y), (h,), (dh,) = at.z, at.before, dafter
        dz[0] = dh * (h - y) * u * (1 - u)
        dz[1] = dh * (1 - u) * (1 - y * y)
        run.xp.multiply(dh, u, out=dbefore[0])
