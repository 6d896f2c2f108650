"""The Elman recurrent layer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from xrnn import init
from xrnn.backend import Backend
from xrnn.checks import check_size
from xrnn.layers.base import Layer
from xrnn.ops.rnn import NONLINEARITIES, Nonlinearity, RNNCache, RNNCell
from xrnn.select import get_backend
from xrnn.typing import Array


class RNN(Layer):
    """Elman recurrent layer: h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b), φ = tanh or relu   (Elman, 1990).

    Wx (D, H), Wh (H, H), b (H,): arrays of one backend, float32 or float64; the layer runs on that backend, and
    holds these very arrays. T time steps, N batch, D input size, H hidden size; time comes first.

    A 2-d input is one step of a batch, (N, D); not a sequence without a batch, as in PyTorch.

    params   [Wx, Wh, b]; named_params gives them by name
    grads    [dWx, dWh, db], overwritten in place by every `backward`: the same arrays at the same addresses
    cache    what the last `forward` keeps for `backward`: None before

    Raises TypeError for arrays of other kinds, dtypes or backends, ValueError for shapes that don't fit or an
    unknown nonlinearity.
    """

    names = ("Wx", "Wh", "b")

    def __init__(self, Wx: Array, Wh: Array, b: Array, *, nonlinearity: Nonlinearity = "tanh") -> None:
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"unknown nonlinearity {nonlinearity!r}: expected one of {', '.join(NONLINEARITIES)}")
        super().__init__(Wx, Wh, b)
        if Wh.ndim != 2 or Wh.shape[0] != Wh.shape[1]:
            self._refuse("Wh", Wh, "(H, H)", "it takes a hidden state of size H to the next")
        H = Wh.shape[0]
        self._check("Wx", Wx, ("D", H), f"Wh is {Wh.shape}")
        self._check("b", b, (H,), f"Wh is {Wh.shape}")
        self.input_size: int = Wx.shape[0]
        self.hidden_size: int = H
        self.cell = RNNCell(nonlinearity)
        self.cache: RNNCache | None = None
        self._one_step = False  # whether the last forward was one

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: Nonlinearity = "tanh",
        rng: np.random.Generator | int | None = None,
        dtype: Any = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with Glorot uniform Wx, orthogonal Wh and zero b, on the selected backend.

        rng    a seed or a Generator: the same weights on every backend; None for fresh ones
        dtype  float32 or float64

        Raises TypeError and ValueError for sizes, rng or dtype that are something else.
        """
        D, H = check_size("input_size", input_size), check_size("hidden_size", hidden_size)
        rng, dtype = init.as_generator(rng), init.as_dtype(dtype)
        weights = init.glorot_uniform(rng, D, H), init.orthogonal(rng, H), np.zeros(H)
        asarray = get_backend(backend).asarray
        return cls(*(asarray(w, dtype) for w in weights), nonlinearity=nonlinearity)

    def forward(self, x: Array, h_prev: Array | None = None) -> Array:
        """One step, x (N, D) → h (N, H), or a sequence, x (T, N, D) → h (T, N, H); h_prev (N, H), None for zeros.

        Keeps what `backward` needs. The result is a view of a buffer that the layer never writes again; don't
        change it, `x` or the weights before `backward`.
        """
        self.cache = self._run(x, h_prev)
        self._one_step = x.ndim == 2
        return self.cache.hs[1] if self._one_step else self.cache.hs[1:]

    def backward(self, dh_next: Array) -> tuple[Array, Array]:
        """The gradient of what the last `forward` returned → dx, in the shape of its x, and dh_prev (N, H).

        Overwrites `grads`. Raises RuntimeError without a `forward` before it.
        """
        if self.cache is None:
            raise RuntimeError("backward needs a forward before it: call forward(x, h_prev) first")
        T, N, _ = self.cache.x.shape
        step = self._one_step
        shape = (N, self.hidden_size) if step else (T, N, self.hidden_size)
        self._check("dh_next", dh_next, shape, "the shape of what the last forward returned")
        dh = dh_next[None] if step else dh_next
        with self.backend.device_of(dh):
            dx, dh_prev = self.backend.recurrence_backward(self.cell, self.cache, dh, *self.grads)
        return dx[0] if step else dx, dh_prev

    def __call__(self, x: Array, h_prev: Array | None = None) -> Array:
        """Inference: what `forward` returns, with nothing kept."""
        hs = self._run(x, h_prev).hs
        return hs[1] if x.ndim == 2 else hs[1:]

    def _run(self, x: Array, h_prev: Array | None) -> RNNCache:
        self._check_input(x, h_prev)
        Wx, Wh, b = self.params
        with self.backend.device_of(x):
            return self.backend.recurrence_forward(self.cell, x if x.ndim == 3 else x[None], Wx, Wh, b, h_prev)

    def _check_input(self, x: Array, h_prev: Array | None) -> None:
        D, H = self.input_size, self.hidden_size
        if not (self._is_ours(x) and x.ndim in (2, 3) and x.shape[-1] == D):
            self._refuse(
                "x",
                x,
                f"(N, {D}) for one step of a batch or (T, N, {D}) for a sequence",
                f"Wx is ({D}, {H}); x[None] makes a batch of one vector, x[:, None] a batch of one sequence",
            )
        if h_prev is not None:
            self._check("h_prev", h_prev, (x.shape[-2], H), "N as in x, H as in Wh")
