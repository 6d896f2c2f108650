"""The gated recurrent layer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_bool
from xrnn.layers.recurrent import SingleStateLayer, fresh_params
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
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: Any = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with Glorot uniform Wx and orthogonal Wh a gate, and zero b, on the selected backend.

        rng    a seed or a Generator: the same weights on every backend; None for fresh ones
        dtype  float32 or float64

        Raises TypeError and ValueError for sizes, rng or dtype that are something else.
        """
        params = fresh_params(_cell(reset_after), input_size, hidden_size, rng, dtype, backend)
        return cls(*params, reset_after=reset_after, reverse=reverse)

    @property
    def options(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after, "reverse": self.reverse}


def _cell(reset_after: bool) -> Cell:
    return GRUCell() if reset_after else GRUResetBeforeCell()
