"""The leaky layer with the leak before the nonlinearity."""

from __future__ import annotations

from collections.abc import Sequence

from xrnn.layers.recurrent import Cache
from xrnn.layers.rnn import LeakyLayer
from xrnn.ops.cells.rnn import CurrentRNNCell, RNNCell, TrainedLeakCurrentRNNCell
from xrnn.typing import Array, ArrayIfNeeded, Lengths


class CurrentRNN(LeakyLayer):
    """Leaky recurrent layer in the form of currents: the leak comes before φ   (Miller & Fumarola, 2012).

    v[t] = (1 - leak) · v[t-1] + leak · (x[t] @ Wx + h[t-1] @ Wh + b)
    h[t] = φ(v[t]),  φ = tanh, relu or softplus

    v is the current into a unit, h its rate. `RNN(…, leak=…)` has the other form, in which the rate leaks.

    Wx (D, H), Wh (H, H), b (H,): arrays of one backend, float32 or float64. The layer runs on that backend and uses
    these arrays without a copy. D is the input size, H the hidden size. Inputs are time-major, (T, N, D), for T time
    steps of a batch of N. An input (N, D) is one step of a batch. With k heads, Wh is (k, H/k, H/k), as in `RNN`.

    With `trains_leak` the layer has a fourth parameter, leak_logit (H,): leak = σ(leak_logit), which stays in (0, 1].
    The constructor makes it from `leak`, or takes an array.

    leak         a number in (0, 1], or an array (H,) with one for each unit: dt/τ of a leaky unit. None means 1; with
                 `trains_leak` it starts at 0.5 if `init` gets no leak
    trains_leak  train the leak of each unit. It starts at `leak`, which must be below 1. The attribute `leak` is its
                 current value
    reverse      run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit, an unknown
    nonlinearity, a leak outside (0, 1], or a start at 1.

    >>> layer = CurrentRNN.init(input_size=3, hidden_size=8, rng=0, leak=0.2, nonlinearity="softplus")
    >>> h, v = layer.forward(np.zeros((20, 4, 3), "float32"))
    >>> h.shape, v.shape
    ((20, 4, 8), (20, 4, 8))
    >>> dx, dh_prev, dv_prev = layer.backward(np.ones_like(h))
    """

    cell_type = CurrentRNNCell
    _leaky_cell, _trained_cell = CurrentRNNCell, TrainedLeakCurrentRNNCell

    def forward(
        self,
        x: Array,
        h_prev: Array | None = None,
        v_prev: Array | None = None,
        *,
        lengths: Lengths | None = None,
        add: Array | None = None,
    ) -> tuple[Array, Array]:
        """One step, x (N, D) → h and v (N, H), or a sequence, x (T, N, D) → h and v after every step (T, N, H).

        h_prev    (N, H), None for φ(v_prev)
        v_prev    (N, H), None for zeros
        lengths   (N,) integers in [0, T]: past its length a row keeps its states, and x and add are not read there
        add       (T, N, H), or (N, H) for one step: a term of each pre-activation, as a b that differs between steps
                  and rows; for noise. None for nothing

        Keeps a cache for `backward`. The results are views of buffers that the layer does not write again. Do not
        change them, `x` or the weights before `backward`.
        """
        return self._results(x, h_prev, v_prev, lengths, add, training=True)

    def backward(
        self,
        dh: Array,
        dv: Array | None = None,
        *,
        cache: Cache | None = None,
        needs_dx: bool = True,
        dadd: Array | None = None,
    ) -> tuple[ArrayIfNeeded, Array, Array]:
        """The gradients dh and dv of the results of a `forward` → dx, in the shape of x, dh_prev and dv_prev (N, H).

        dv_prev is the gradient at a constant h_prev. If h_prev was None, the gradient of v_prev is
        dv_prev + dh_prev · φ'(v_prev).

        dv         None if the loss does not depend on v
        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if the gradient of x is not needed: dx is then None
        dadd       a C-contiguous array of the shape of `add`, overwritten by its gradient; None if it is not needed

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since; ValueError for the cache of another layer.
        """
        dx, dh_prev, dv_prev = self._backward((dh, dv), cache, needs_dx, dadd)
        return dx, dh_prev, dv_prev

    def __call__(
        self,
        x: Array,
        h_prev: Array | None = None,
        v_prev: Array | None = None,
        *,
        lengths: Lengths | None = None,
        add: Array | None = None,
    ) -> tuple[Array, Array]:
        """Inference: the results of `forward`, without a cache."""
        return self._results(x, h_prev, v_prev, lengths, add, training=False)

    def _results(
        self,
        x: Array,
        h_prev: Array | None,
        v_prev: Array | None,
        lengths: Lengths | None,
        add: Array | None,
        *,
        training: bool,
    ) -> tuple[Array, Array]:
        h, v = self._run(x, (h_prev, v_prev), lengths, training=training, add=add)
        slots = self._slots[x.ndim]
        return h[slots], v[slots]

    def _run(
        self,
        x: Array,
        initial: Sequence[Array | None],
        lengths: Lengths | None,
        *,
        training: bool,
        add: Array | None = None,
    ) -> Sequence[Array]:
        h_prev, v_prev = initial
        if h_prev is None and (v_prev is not None or self.nonlinearity == "softplus"):  # φ(0) = 0 of the others
            self._check_input(x, initial, add)
            with self.backend.device_of(x):
                zeros = self.backend.xp.zeros((x.shape[-2], self.output_size), x.dtype)
                h_prev = zeros if v_prev is None else v_prev.copy()
                RNNCell(self.nonlinearity).activate(self.backend.xp, h_prev)
        return super()._run(x, (h_prev, v_prev), lengths, training=training, add=add)
