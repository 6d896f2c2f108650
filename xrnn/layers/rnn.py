"""The Elman recurrent layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_leak
from xrnn.layers.recurrent import Cache, SingleStateLayer
from xrnn.ops.cell import Cell
from xrnn.ops.cells.rnn import NONLINEARITIES, LeakyRNNCell, Nonlinearity, RNNCell
from xrnn.typing import Array, ArrayIfNeeded, DType


class RNN(SingleStateLayer):
    """Elman recurrent layer: h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b), φ = tanh or relu   (Elman, 1990).

    With a leak: h[t] = (1 - leak) · h[t-1] + leak · φ(x[t] @ Wx + h[t-1] @ Wh + b)   (Jaeger et al., 2007).

    Wx (D, H), Wh (H, H), b (H,): arrays of one backend, float32 or float64. The layer runs on that backend and uses
    these arrays without a copy. D is the input size, H the hidden size. Inputs are time-major, (T, N, D), for T time
    steps of a batch of N. An input (N, D) is one step of a batch.

    With k heads, Wh is (k, H/k, H/k). Head j has the units j · H/k … (j+1) · H/k - 1, and its h feeds its own units
    only, through Wh[j].

    leak     a number in (0, 1], or an array (H,) with one for each unit: dt/τ of a leaky unit. None means 1. The leak
             is not trained.
    reverse  run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit, an unknown
    nonlinearity, or a leak outside (0, 1].

    >>> rnn = RNN.init(input_size=3, hidden_size=8, rng=0, leak=0.5)
    >>> h = rnn.forward(np.zeros((20, 4, 3), "float32"))
    >>> h.shape
    (20, 4, 8)
    >>> dx, dh_prev = rnn.backward(np.ones_like(h))
    >>> [dp.shape for dp in rnn.grads]
    [(3, 8), (8, 8), (8,)]
    """

    cell_type = RNNCell

    def __init__(
        self,
        Wx: Array,
        Wh: Array,
        b: Array,
        *,
        nonlinearity: Nonlinearity = "tanh",
        leak: float | Sequence[float] | Array | None = None,
        reverse: bool = False,
    ) -> None:
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"unknown nonlinearity {nonlinearity!r}: expected one of {', '.join(NONLINEARITIES)}")
        super().__init__(RNNCell(nonlinearity), Wx, Wh, b, reverse=reverse)
        self._gradient_names = ["dh_next"]
        self.nonlinearity: Nonlinearity = nonlinearity
        self.leak = None if leak is None else check_leak(leak, b, self.backend)
        if self.leak is not None:
            with self.backend.device_of(b):
                self.cell = LeakyRNNCell(self.leak, nonlinearity)

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: Nonlinearity = "tanh",
        leak: float | Sequence[float] | Array | None = None,
        heads: int | None = None,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        options = {"nonlinearity": nonlinearity, "leak": leak, "reverse": reverse}
        return cls._with_new_weights(input_size, hidden_size, rng, dtype, backend, heads=heads, **options)

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> Cell:
        return RNNCell(options.get("nonlinearity", "tanh"))

    @property
    def options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity, "leak": self.leak, "reverse": self.reverse}

    def backward(
        self, dh_next: Array, *, cache: Cache | None = None, needs_dx: bool = True
    ) -> tuple[ArrayIfNeeded, Array]:
        """The same as `SingleStateLayer.backward`. Only the name of the first argument differs."""
        return super().backward(dh_next, cache=cache, needs_dx=needs_dx)
