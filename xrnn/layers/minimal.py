"""The minimal gated layers, minGRU and minLSTM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.layers.recurrent import SingleStateLayer
from xrnn.ops.cell import Cell
from xrnn.ops.cells.minimal import Candidate, MinGRUCell, MinLSTMCell
from xrnn.typing import Array, DType


class _MinimalLayer(SingleStateLayer):
    """A layer whose cell has a `candidate`, and no recurrent product."""

    cell_type: ClassVar[Any]

    def __init__(
        self, Wx: Array, Wh: Array, b: Array, *, candidate: Candidate = "linear", reverse: bool = False
    ) -> None:
        super().__init__(self.cell_type(candidate), Wx, Wh, b, reverse=reverse)
        self.candidate: Candidate = candidate

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        candidate: Candidate = "linear",
        heads: int | None = None,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        options: dict[str, Any] = {"candidate": candidate, "reverse": reverse}
        return cls._with_new_weights(input_size, hidden_size, rng, dtype, backend, heads=heads, **options)

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> Cell:
        return cls.cell_type(options.get("candidate", "linear"))

    @property
    def options(self) -> dict[str, Any]:
        return {"candidate": self.candidate, "reverse": self.reverse}


class MinGRU(_MinimalLayer):
    """Minimal gated recurrent unit: the gate does not depend on h   (Feng et al., 2024).

    u = σ(x[t] @ Wx_u + b_u)
    y = g(x[t] @ Wx_y + b_y)
    h[t] = h[t-1] + u · (y - h[t-1])

    Wx (D, 2H) and b (2H,), blocks in the order u y, and Wh (H, 0), which has no elements: arrays of one backend,
    float32 or float64. The layer runs on that backend and uses these arrays without a copy. D is the input size, H the
    hidden size. Inputs are time-major, (T, N, D), for T time steps of a batch of N. An input (N, D) is one step of a
    batch.

    candidate  "linear": g(v) = v. "positive": g(v) = v + 1/2 for v ≥ 0, otherwise σ(v), as in the paper
    reverse    run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit, and for an
    unknown candidate.

    >>> layer = MinGRU.init(input_size=3, hidden_size=8, rng=0)
    >>> layer.forward(np.zeros((20, 4, 3), "float32"), lengths=[20, 7, 0, 13]).shape
    (20, 4, 8)
    """

    cell_type = MinGRUCell


class MinLSTM(_MinimalLayer):
    """Minimal long short-term memory: gates that do not depend on h, and one state   (Feng et al., 2024).

    f, i = σ of x[t] @ Wx + b
    y = g(x[t] @ Wx_y + b_y)
    h[t] = (f · h[t-1] + i · y) / (f + i)

    Wx (D, 3H) and b (3H,), blocks in the order f i y, and Wh (H, 0), which has no elements: arrays of one backend,
    float32 or float64. The layer runs on that backend and uses these arrays without a copy. D is the input size, H the
    hidden size. Inputs are time-major, (T, N, D), for T time steps of a batch of N. An input (N, D) is one step of a
    batch. The result is correct even if f and i are so small that they underflow.

    candidate  "linear": g(v) = v. "positive": g(v) = v + 1/2 for v ≥ 0, otherwise σ(v), as in the paper
    reverse    run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit, and for an
    unknown candidate.

    >>> layer = MinLSTM.init(input_size=3, hidden_size=8, rng=0)
    >>> h, state = layer.stream(np.zeros((10, 1, 3), "float32"))
    >>> h, state = layer.stream(np.zeros((1, 3), "float32"), state)  # the next step
    >>> h.shape
    (1, 8)
    """

    cell_type = MinLSTMCell
