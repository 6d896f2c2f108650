"""A cell without a recurrent product, for the tests."""

from __future__ import annotations

from collections.abc import Sequence

from xrnn.layers.recurrent import SingleStateLayer
from xrnn.ops.cell import Cell, Run, StepArrays
from xrnn.ops.cells.gates import sigmoid
from xrnn.typing import Array


class MinGRUCell(Cell):
    """u = σ(z₀);  h' = h + u · (z₁ - h)   (Feng et al., 2024)."""

    pre = 2
    from_h = ()

    def step(self, run: Run, at: StepArrays) -> None:
        (u, y), (h,), (h_next,) = at.z, at.before, at.after
        sigmoid(run.xp, u)
        h_next[...] = h + u * (y - h)

    def gradient(self, run: Run, at: StepArrays, dafter: Sequence[Array], dz: Array, dbefore: Sequence[Array]) -> None:
        (u, y), (h,), (dh,) = at.z, at.before, dafter
        dz[0] = dh * (y - h) * u * (1 - u)
        dz[1] = dh * u
        dbefore[0][...] = dh * (1 - u)


class MinGRU(SingleStateLayer):
    """u = σ(x[t] @ Wx_u + b_u);  h[t] = h[t-1] + u · (x[t] @ Wx_y + b_y - h[t-1])

    Wx (D, 2H) in the order u y, Wh (H, 0), b (2H,)
    """

    cell_type = MinGRUCell

    def __init__(self, Wx: Array, Wh: Array, b: Array, *, reverse: bool = False) -> None:
        super().__init__(MinGRUCell(), Wx, Wh, b, reverse=reverse)
