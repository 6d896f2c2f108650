"""The long short-term memory layer."""

from __future__ import annotations

from xrnn.layers.recurrent import Cache, RecurrentLayer
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.typing import Array, ArrayIfNeeded, Lengths


class LSTM(RecurrentLayer):
    """Long short-term memory   (Hochreiter & Schmidhuber, 1997; Gers et al., 2000).

    i, f, g, o = σ, σ, tanh, σ of x[t] @ Wx + h[t-1] @ Wh + b
    c[t] = f · c[t-1] + i · g
    h[t] = o · tanh(c[t])

    Wx (D, 4H), Wh (H, 4H), b (4H,), gates in the order i f g o: arrays of one backend, float32 or float64. The layer
    runs on that backend and uses these arrays without a copy. D is the input size, H the hidden size. Inputs are
    time-major, (T, N, D), for T time steps of a batch of N. An input (N, D) is one step of a batch.

    With k heads, Wh is (k, H/k, 4H/k). Head j has the units j · H/k … (j+1) · H/k - 1, and its h feeds its own gates
    only, through Wh[j]. The columns of Wh[j] are i f g o of head j; those of Wx and b are i f g o of all units.

    reverse  run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit.

    >>> lstm = LSTM.init(input_size=3, hidden_size=8, rng=0)
    >>> h, c = lstm.forward(np.zeros((20, 4, 3), "float32"), lengths=[20, 7, 0, 13])
    >>> h.shape, c.shape
    ((20, 4, 8), (20, 4, 8))
    >>> dx, dh_prev, dc_prev = lstm.backward(np.ones_like(h))
    """

    cell_type = LSTMCell

    def __init__(self, Wx: Array, Wh: Array, b: Array, *, reverse: bool = False) -> None:
        super().__init__(LSTMCell(), Wx, Wh, b, reverse=reverse)

    def forward(
        self,
        x: Array,
        h_prev: Array | None = None,
        c_prev: Array | None = None,
        *,
        lengths: Lengths | None = None,
        add: Array | None = None,
    ) -> tuple[Array, Array]:
        """One step, x (N, D) → h and c (N, H), or a sequence, x (T, N, D) → h and c after every step (T, N, H).

        h_prev, c_prev   (N, H), None for zeros
        lengths          (N,) integers in [0, T]: past its length a row keeps its states, and x and add are not read
        add              (T, N, 4H), or (N, 4H) for one step: a term of each pre-activation, as a b that differs between
                         steps and rows; for noise. None for nothing

        Keeps a cache for `backward`. The results are views of buffers that the layer does not write again. Do not
        change them, `x` or the weights before `backward`.
        """
        h, c = self._run(x, (h_prev, c_prev), lengths, training=True, add=add)
        slots = self._slots[x.ndim]
        return h[slots], c[slots]

    def backward(
        self,
        dh: Array,
        dc: Array | None = None,
        *,
        cache: Cache | None = None,
        needs_dx: bool = True,
        dadd: Array | None = None,
    ) -> tuple[ArrayIfNeeded, Array, Array]:
        """The gradients dh and dc of the results of a `forward` → dx, in the shape of x, dh_prev and dc_prev (N, H).

        dc         None if the loss does not depend on c
        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if the gradient of x is not needed: dx is then None
        dadd       a C-contiguous array of the shape of `add`, overwritten by its gradient; None if it is not needed

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since; ValueError for the cache of another layer.
        """
        dx, dh_prev, dc_prev = self._backward((dh, dc), cache, needs_dx, dadd)
        return dx, dh_prev, dc_prev

    def __call__(
        self,
        x: Array,
        h_prev: Array | None = None,
        c_prev: Array | None = None,
        *,
        lengths: Lengths | None = None,
        add: Array | None = None,
    ) -> tuple[Array, Array]:
        """Inference: the results of `forward`, without a cache."""
        h, c = self._run(x, (h_prev, c_prev), lengths, training=False, add=add)
        slots = self._slots[x.ndim]
        return h[slots], c[slots]
