"""The gated recurrent layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xrnn.checks import check_bool
from xrnn.layers.recurrent import SingleStateLayer
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.typing import Array


class GRU(SingleStateLayer):
    """Gated recurrent unit   (Cho et al., 2014).

    r, z = σ of x[t] @ Wx + h[t-1] @ Wh + b
    n = tanh(x[t] @ Wx_n + b_n + r · (h[t-1] @ Wh_n + b_hn))
    h[t] = (1 - z) · n + z · h[t-1]

    With reset_after=False, n = tanh(x[t] @ Wx_n + b_n + (r · h[t-1]) @ Wh_n), as the paper has it.

    Wx (D, 3H), Wh (H, 3H), in the order r z n; b (4H,): b_r, b_z, b_n, b_hn, or (3H,) without reset_after: arrays of
    one backend, float32 or float64; the layer runs on that backend, and holds these very arrays. T time steps, N batch,
    D input size, H hidden size; time comes first. A 2-d input is one step of a batch, (N, D).

    reset_after  apply the reset gate after the recurrent product; the other way has no fused form
    reverse      take the last step first

    Raises TypeError for arrays of other kinds, dtypes or backends, ValueError for shapes that don't fit.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, *, reset_after: bool = True, reverse: bool = False) -> None:
        reset_after = check_bool("reset_after", reset_after)
        H = (getattr(Wh, "shape", ()) or (0,))[0]
        if reset_after and H and getattr(b, "shape", ()) == (3 * H,):
            raise ValueError(
                f"b has shape {b.shape}, but this GRU expects ({4 * H},): b_r, b_z, b_n and b_hn, that of the "
                "recurrent part of n; append b_hn, zeros for none, or say reset_after=False"
            )
        super().__init__(_cell(reset_after), Wx, Wh, b, reverse=reverse)
        self.reset_after = reset_after

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> Cell:
        return _cell(options.get("reset_after", True))

    @property
    def options(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after, "reverse": self.reverse}


def _cell(reset_after: bool) -> Cell:
    return GRUCell() if reset_after else GRUResetBeforeCell()
