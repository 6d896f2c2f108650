"""The gated recurrent layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_bool
from xrnn.layers.recurrent import SingleStateLayer
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.typing import Array, DType


class GRU(SingleStateLayer):
    """Gated recurrent unit   (Cho et al., 2014).

    r, u = σ of x[t] @ Wx + h[t-1] @ Wh + b
    n = tanh(x[t] @ Wx_n + b_n + r · (h[t-1] @ Wh_n + b_hn))
    h[t] = (1 - u) · n + u · h[t-1]

    With reset_after=False, as in the paper: n = tanh(x[t] @ Wx_n + b_n + (r · h[t-1]) @ Wh_n).

    Wx (D, 3H), Wh (H, 3H), gates in the order r u n, and b (4H,): b_r, b_u, b_n, b_hn. With reset_after=False there is
    no b_hn. They are arrays of one backend, float32 or float64. The layer runs on that backend and uses these arrays
    without a copy. D is the input size, H the hidden size. Inputs are time-major, (T, N, D), for T time steps of a
    batch of N. An input (N, D) is one step of a batch.

    With k heads, Wh is (k, H/k, 3H/k). Head j has the units j · H/k … (j+1) · H/k - 1, and its h feeds its own gates
    only, through Wh[j]. The columns of Wh[j] are r u n of head j; those of Wx and b are r u n of all units. Heads need
    reset_after=True.

    reset_after  multiply by the reset gate after the recurrent product; False has no fused form
    reverse      run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit.

    >>> gru = GRU.init(input_size=3, hidden_size=8, rng=0)
    >>> h, state = gru.stream(np.zeros((10, 1, 3), "float32"))
    >>> h, state = gru.stream(np.zeros((1, 3), "float32"), state)  # the next step
    >>> h.shape
    (1, 8)
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, *, reset_after: bool = True, reverse: bool = False) -> None:
        reset_after = check_bool("reset_after", reset_after)
        shape = getattr(Wh, "shape", ())
        H = math.prod(shape[:2]) if len(shape) == 3 else (shape or (0,))[0]
        if reset_after and H and getattr(b, "shape", ()) == (3 * H,):
            raise ValueError(
                f"b has shape {b.shape}, but this GRU expects ({4 * H},): b_r, b_u, b_n, and b_hn for the recurrent "
                "part of n; append b_hn, for example zeros, or use reset_after=False"
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
        heads: int | None = None,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        options = {"reset_after": reset_after, "reverse": reverse}
        return cls._with_new_weights(input_size, hidden_size, rng, dtype, backend, heads=heads, **options)

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> Cell:
        return _cell(options.get("reset_after", True))

    @property
    def options(self) -> dict[str, Any]:
        return {"reset_after": self.reset_after, "reverse": self.reverse}


def _cell(reset_after: bool) -> Cell:
    return GRUCell() if reset_after else GRUResetBeforeCell()
