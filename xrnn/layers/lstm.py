"""The long short-term memory layer."""

from __future__ import annotations

from typing import Any

from xrnn.layers.recurrent import Cache, RecurrentLayer
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import Array, ArrayIfNeeded


class LSTM(RecurrentLayer):
    """Long short-term memory   (Hochreiter & Schmidhuber, 1997; Gers et al., 2000).

    i, f, g, o = σ, σ, tanh, σ of x[t] @ Wx + h[t-1] @ Wh + b
    c[t] = f · c[t-1] + i · g
    h[t] = o · tanh(c[t])

    Wx (D, 4H), Wh (H, 4H), b (4H,), in the order i f g o: arrays of one backend, float32 or float64; the layer runs on
    that backend, and holds these very arrays. T time steps, N batch, D input size, H hidden size; time comes first. A
    2-d input is one step of a batch, (N, D).

    reverse  take the last step first

    Raises TypeError for arrays of other kinds, dtypes or backends, ValueError for shapes that don't fit.
    """

    _cell_type = LSTMCell

    def __init__(self, Wx: Array, Wh: Array, b: Array, *, reverse: bool = False) -> None:
        super().__init__(LSTMCell(), Wx, Wh, b, reverse=reverse)

    def forward(
        self, x: Array, h_prev: Array | None = None, c_prev: Array | None = None, *, lengths: Any = None
    ) -> tuple[Array, Array]:
        """One step, x (N, D) → h, c (N, H), or a sequence, x (T, N, D) → h, c (T, N, H), c of every step.

        h_prev, c_prev   (N, H), None for zeros
        lengths          (N,) integers in [0, T]: past its own length a row keeps its states, whatever x holds there

        Keeps what `backward` needs. The results are views of buffers that the layer never writes again; don't change
        them, `x` or the weights before `backward`.
        """
        h, c = self._run(x, (h_prev, c_prev), lengths, training=True)
        return self._result(h, x), self._result(c, x)

    def backward(
        self, dh: Array, dc: Array | None = None, *, cache: Cache | None = None, needs_dx: bool = True
    ) -> tuple[ArrayIfNeeded, Array, Array]:
        """The gradient of what a `forward` returned → dx, in the shape of its x, dh_prev and dc_prev (N, H).

        dc         None where the loss does not look at c
        cache      of which forward: `layer.cache`, taken after it; None for the last
        needs_dx   False where x is data: dx is then None, and its product isn't taken

        Overwrites `grads`. Raises RuntimeError without a `forward` before it, or where the weights have been updated
        since by an optimizer, or replaced.
        """
        dx, dh_prev, dc_prev = self._backward((dh, dc), cache, needs_dx)
        return dx, dh_prev, dc_prev

    def __call__(
        self, x: Array, h_prev: Array | None = None, c_prev: Array | None = None, *, lengths: Any = None
    ) -> tuple[Array, Array]:
        """Inference: what `forward` returns, with nothing kept."""
        h, c = self._run(x, (h_prev, c_prev), lengths, training=False)
        return self._result(h, x), self._result(c, x)
