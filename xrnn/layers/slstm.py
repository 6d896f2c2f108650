"""The sLSTM layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from xrnn.backend import Backend
from xrnn.layers.recurrent import Cache, RecurrentLayer
from xrnn.ops.cells.slstm import ForgetGate, SLSTMCell
from xrnn.typing import Array, ArrayIfNeeded, DType, Lengths


class SLSTM(RecurrentLayer):
    """LSTM with an exponential input gate and a normaliser   (Beck et al., 2024).

    i, f, g, o = exp, exp or σ, tanh, σ of x[t] @ Wx + h[t-1] @ Wh + b
    m[t] = max(log f + m[t-1], log i), or log i where n[t-1] = 0
    c[t] = exp(log f + m[t-1] - m[t]) · c[t-1] + exp(log i - m[t]) · g
    n[t] = exp(log f + m[t-1] - m[t]) · n[t-1] + exp(log i - m[t])
    h[t] = o · c[t] / n[t]

    h is a weighted mean of the candidates g, times o. The stabiliser m only rescales c and n, so that no exponential
    overflows.

    Wx (D, 4H), Wh (H, 4H), b (4H,), gates in the order i f g o: arrays of one backend, float32 or float64. The layer
    runs on that backend and uses these arrays without a copy. D is the input size, H the hidden size. Inputs are
    time-major, (T, N, D), for T time steps of a batch of N. An input (N, D) is one step of a batch.

    With k heads, Wh is (k, H/k, 4H/k), as in `LSTM`.

    forget_gate  "exp": f = exp(z). "sigmoid": f = σ(z), as in FlashRNN (Pöppel et al., 2024)
    reverse      run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit, and for an
    unknown forget gate.

    >>> slstm = SLSTM.init(input_size=3, hidden_size=8, heads=2, rng=0)
    >>> h, c, n, m = slstm.forward(np.zeros((20, 4, 3), "float32"), lengths=[20, 7, 0, 13])
    >>> h.shape
    (20, 4, 8)
    >>> dx, dh_prev, dc_prev, dn_prev = slstm.backward(np.ones_like(h))
    """

    cell_type = SLSTMCell

    def __init__(
        self, Wx: Array, Wh: Array, b: Array, *, forget_gate: ForgetGate = "exp", reverse: bool = False
    ) -> None:
        super().__init__(SLSTMCell(forget_gate), Wx, Wh, b, reverse=reverse)
        self.forget_gate: ForgetGate = forget_gate

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        forget_gate: ForgetGate = "exp",
        heads: int | None = None,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        options: dict[str, Any] = {"forget_gate": forget_gate, "reverse": reverse}
        return cls._with_new_weights(input_size, hidden_size, rng, dtype, backend, heads=heads, **options)

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> SLSTMCell:
        return SLSTMCell(options.get("forget_gate", "exp"))

    @property
    def options(self) -> dict[str, Any]:
        return {"forget_gate": self.forget_gate, "reverse": self.reverse}

    def forward(
        self,
        x: Array,
        h_prev: Array | None = None,
        c_prev: Array | None = None,
        n_prev: Array | None = None,
        m_prev: Array | None = None,
        *,
        lengths: Lengths | None = None,
        add: Array | None = None,
    ) -> tuple[Array, Array, Array, Array]:
        """One step, x (N, D) → h, c, n, m (N, H) each, or a sequence, x (T, N, D) → all of them after every step.

        h_prev, c_prev, n_prev, m_prev   (N, H) each, None for zeros; n_prev ≥ 0. A unit with n = 0 is fresh: c_prev
                                         needs its n_prev
        lengths     (N,) integers in [0, T]: past its length a row keeps its states, and x and add are not read there
        add         (T, N, 4H), or (N, 4H) for one step: a term of each pre-activation, as a b that differs between
                    steps and rows; for noise. None for nothing

        Keeps a cache for `backward`. The results, (T, N, H) for a sequence, are views of buffers that the layer does
        not write again. Do not change them, `x` or the weights before `backward`.
        """
        return self._results(x, (h_prev, c_prev, n_prev, m_prev), lengths, training=True, add=add)

    def backward(
        self,
        dh: Array,
        dc: Array | None = None,
        dn: Array | None = None,
        *,
        cache: Cache | None = None,
        needs_dx: bool = True,
        dadd: Array | None = None,
    ) -> tuple[ArrayIfNeeded, Array, Array, Array]:
        """The gradients dh, dc and dn of the results of a `forward` → dx, dh_prev, dc_prev and dn_prev (N, H).

        m counts as a constant. The gradients of a loss of h alone are exact, because h does not depend on m.

        dc, dn     None if the loss does not depend on c or n
        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if the gradient of x is not needed: dx, in the shape of x, is then None
        dadd       a C-contiguous array of the shape of `add`, overwritten by its gradient; None if it is not needed

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since; ValueError for the cache of another layer.
        """
        dx, dh_prev, dc_prev, dn_prev, _ = self._backward((dh, dc, dn, None), cache, needs_dx, dadd)
        return dx, dh_prev, dc_prev, dn_prev

    def __call__(
        self,
        x: Array,
        h_prev: Array | None = None,
        c_prev: Array | None = None,
        n_prev: Array | None = None,
        m_prev: Array | None = None,
        *,
        lengths: Lengths | None = None,
        add: Array | None = None,
    ) -> tuple[Array, Array, Array, Array]:
        """Inference: the results of `forward`, without a cache."""
        return self._results(x, (h_prev, c_prev, n_prev, m_prev), lengths, training=False, add=add)

    def _run(
        self,
        x: Array,
        initial: Sequence[Array | None],
        lengths: Lengths | None,
        *,
        training: bool,
        add: Array | None = None,
    ) -> Sequence[Array]:
        if initial[1] is not None and initial[2] is None:
            raise ValueError(
                "got c_prev without n_prev: expected both, because n_prev is the normaliser of c_prev; pass the n that "
                "was returned with this c"
            )
        return super()._run(x, initial, lengths, training=training, add=add)

    def _results(
        self,
        x: Array,
        initial: tuple[Array | None, ...],
        lengths: Lengths | None,
        *,
        training: bool,
        add: Array | None,
    ) -> tuple[Array, Array, Array, Array]:
        h, c, n, m = self._run(x, initial, lengths, training=training, add=add)
        slots = self._slots[x.ndim]
        return h[slots], c[slots], n[slots], m[slots]
