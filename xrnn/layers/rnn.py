"""The Elman recurrent layer."""

from __future__ import annotations

from typing import Any

from xrnn.checks import check_leak
from xrnn.layers.recurrent import Cache, SingleStateLayer
from xrnn.ops.cells.rnn import NONLINEARITIES, LeakyRNNCell, Nonlinearity, RNNCell
from xrnn.typing import Array, ArrayIfNeeded


class RNN(SingleStateLayer):
    """Elman recurrent layer: h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b), φ = tanh or relu   (Elman, 1990).

    With a leak: h[t] = (1 - leak) · h[t-1] + leak · φ(x[t] @ Wx + h[t-1] @ Wh + b)   (Jaeger et al., 2007).

    Wx (D, H), Wh (H, H), b (H,): arrays of one backend, float32 or float64; the layer runs on that backend, and holds
    these very arrays. T time steps, N batch, D input size, H hidden size; time comes first. A 2-d input is one step of
    a batch, (N, D).

    leak     a number in (0, 1], or one a unit, (H,): dt/τ of a leaky unit; None for 1. It is not trained.
    reverse  take the last step first

    Raises TypeError for arrays of other kinds, dtypes or backends, ValueError for shapes that don't fit, an unknown
    nonlinearity or a leak outside (0, 1].
    """

    _cell_type = RNNCell

    def __init__(
        self,
        Wx: Array,
        Wh: Array,
        b: Array,
        *,
        nonlinearity: Nonlinearity = "tanh",
        leak: Any = None,
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

    @property
    def options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity, "leak": self.leak, "reverse": self.reverse}

    def backward(
        self, dh_next: Array, *, cache: Cache | None = None, needs_dx: bool = True
    ) -> tuple[ArrayIfNeeded, Array]:
        """As every layer's with a single state, but for the name of what it takes."""
        dx, dh_prev = self._backward((dh_next,), cache, needs_dx)
        return dx, dh_prev
