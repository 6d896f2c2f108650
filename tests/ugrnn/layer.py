"""The update-gate layer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from tests.ugrnn.cell import UGRNNCell
from xrnn.backend import Backend
from xrnn.layers.recurrent import SingleStateLayer, fresh_params
from xrnn.typing import Array


class UGRNN(SingleStateLayer):
    """u, y = σ, tanh of x[t] @ Wx + h[t-1] @ Wh + b;  h[t] = (1 - u) · y + u · h[t-1]   (Collins et al., 2017).

    Wx (D, 2H), Wh (H, 2H), b (2H,), in the order u y.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, *, reverse: bool = False) -> None:
        super().__init__(UGRNNCell(), Wx, Wh, b, reverse=reverse)

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: Any = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with Glorot uniform Wx, orthogonal Wh a gate, and zero b."""
        return cls(*fresh_params(UGRNNCell(), input_size, hidden_size, rng, dtype, backend), reverse=reverse)
