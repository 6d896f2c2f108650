"""What the layers of state-space models share: their calls, their states, and the checks of their arguments."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_bool, check_lengths
from xrnn.layers.base import Layer
from xrnn.messages import kind_of
from xrnn.typing import Array, ArrayIfNeeded, DType, Lengths

# The parts of the state after a step: see the layer.
State: TypeAlias = tuple[Array, ...]


@dataclass(slots=True, eq=False)
class Cache:
    """What a forward keeps for `backward`."""

    x: Array  # (T, N, D), with zeros past the end of a row
    lengths: Array | None
    kept: Any  # what `_gradients` of the layer needs
    one_step: bool  # x was (N, D)
    params: tuple[Array, ...]
    updates: int
    weights: Sequence[Array] | None  # copies for `use_weight_checks`


class StateSpaceLayer(Layer):
    """A layer whose state has several parts, of any shapes.

    Subclasses define `init`, `_forward`, `_gradients` and `_state_shapes`.
    """

    streams = True
    _cache_type = Cache
    _forward_arguments = "x, state"
    hidden_size: int

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        """A layer with new weights, on the selected backend."""
        raise NotImplementedError

    def __init__(self, *params: Array) -> None:
        if len(params) != len(self.names):
            raise TypeError(
                f"got {len(params)} parameters, but a {self.title} has {len(self.names)}: pass {', '.join(self.names)}"
            )
        super().__init__(*params)

    def _forward(
        self, x: Array, state: Sequence[Array | None], lengths: Array | None, training: bool
    ) -> tuple[Array, State, Any]:
        """x (T, N, D) → h (T · N, H), the state after the last step, and what `_gradients` needs.

        state   its parts before the first step, None for zeros
        """
        raise NotImplementedError

    def _gradients(
        self, cache: Cache, dh: Array, dlast: Sequence[Array | None], needs_dx: bool, grads: Sequence[Array]
    ) -> tuple[ArrayIfNeeded, State]:
        """dh (T · N, H) → dx (T · N, D), and the gradient of the initial state.

        grads   overwritten by the gradients of `params`
        """
        raise NotImplementedError

    def _state_shapes(self, N: int) -> dict[str, tuple[int, ...]]:
        """The name and the shape of each part of the state."""
        raise NotImplementedError

    @property
    def directions(self) -> tuple[tuple[int, bool], ...]:
        return ((self.output_size, False),)

    def forward(self, x: Array, state: State | None = None, *, lengths: Lengths | None = None) -> tuple[Array, State]:
        """A sequence x (T, N, D) or one step (N, D) → h of the same rank, and the state after the last step.

        state    the state before the first step, such as one that an earlier call returned; None for zeros
        lengths  (N,) integers in [0, T]: past its length a row keeps its state, h is 0, and x is not used

        Keeps a cache for `backward`.
        """
        return self._run(x, state, None if lengths is None else self.checked_lengths(lengths, x), training=True)

    def __call__(self, x: Array, state: State | None = None, *, lengths: Lengths | None = None) -> tuple[Array, State]:
        """Inference: the results of `forward`, without a cache."""
        return self._run(x, state, None if lengths is None else self.checked_lengths(lengths, x), training=False)

    def stream(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        """Inference on the next step (N, D) or steps (T, N, D) of an endless signal → h, state.

        state   the state that the previous call returned; None at the beginning. The layer does not keep it, so one
                layer may process many signals, also in several threads.
        """
        return self._run(x, state, None, training=False)

    def backward(
        self, dh: Array, dstate: State | None = None, *, cache: Cache | None = None, needs_dx: bool = True
    ) -> tuple[ArrayIfNeeded, State]:
        """The gradients of the results of a `forward` → dx, and the gradient of its initial state.

        dstate     the gradient of the returned state; None for zeros
        cache      `layer.cache` as it was after an earlier forward; None for the last forward
        needs_dx   False if x is data: dx is not computed, and None is returned

        Overwrites `grads`. Raises RuntimeError if there was no `forward`, or if the weights have been updated or
        replaced since.
        """
        needs_dx = check_bool("needs_dx", needs_dx)
        c: Cache = self._cached(cache)
        if c.updates != self.updates or any(map(operator.is_not, c.params, self.params)):
            self._refuse_changed(c.updates)
        if c.weights is not None:
            self._check_unchanged(c.weights)
        T, N, _ = c.x.shape
        shape = (N, self.output_size) if c.one_step else (T, N, self.output_size)
        self._check("dh", dh, shape, "the shape of what the last forward returned")
        dlast = self._checked_state("dstate", dstate, N)
        with self.backend.device_of(dh):
            grads = self.grads if self._needs_grads else [self.backend.xp.empty_like(grad) for grad in self.grads]
            dx, dinitial = self._gradients(c, dh.reshape(T * N, self.output_size), dlast, needs_dx, grads)
        if dx is not None:
            dx = dx.reshape(c.x.shape[1:] if c.one_step else c.x.shape)
        return dx, dinitial

    def _run(self, x: Array, state: State | None, lengths: Array | None, *, training: bool) -> tuple[Array, State]:
        if any(map(operator.is_not, self.params, self._registered)):
            self._accept_replaced()
        self._check_input(x)
        one_step = x.ndim == 2
        before = self._checked_state("state", state, x.shape[-2])
        xp = self.backend.xp
        with self.backend.device_of(x):
            x = x[None] if one_step else x
            if lengths is not None:  # an unused x may be NaN, and 0 · NaN would reach the gradients of the weights
                x = xp.where((xp.arange(len(x))[:, None] < lengths)[:, :, None], x, xp.zeros((), x.dtype))
            h, after, kept = self._forward(x, before, lengths, training)
        if training:
            weights = self._weights_for_checks()
            self.cache = Cache(x, lengths, kept, one_step, tuple(self.params), self.updates, weights)
        shape = (*x.shape[1 if one_step else 0 : 2], self.output_size)
        return h.reshape(shape), after

    def _product(self, x: Array, W: Array) -> Array:
        """x @ W"""
        return self.backend.affine_forward(x, W, self.backend.xp.zeros(W.shape[1], W.dtype))

    def _product_backward(self, x: Array, W: Array, dy: Array, dW: Array, needs_dx: bool = True) -> ArrayIfNeeded:
        """dW = xᵀ @ dy is overwritten; → dx = dy @ Wᵀ, None without `needs_dx`."""
        return self.backend.affine_backward(x, W, dy, dW, self.backend.xp.empty(W.shape[1], W.dtype), needs_dx)

    def _or_zeros(self, initial: Array | None, part: int, N: int) -> Array:
        """`initial`, a part of the state, or zeros if it is None: their gradient is returned too."""
        if initial is not None:
            return initial
        shapes = list(self._state_shapes(N).values())
        zeros: Array = self.backend.xp.zeros(shapes[part], self._dtype)
        return zeros

    # ---- checks ----

    def _check_input(self, x: Array) -> None:
        if not (self._is_ours(x) and x.ndim in (2, 3) and x.shape[-1] == self.input_size):
            D = self.input_size
            self._refuse("x", x, f"(T, N, {D}) or (N, {D})", f"in_proj is {self.params[0].shape}")

    def _checked_state(self, name: str, state: Any, N: int) -> Sequence[Array | None]:
        """The parts of a state for N rows, or of its gradient; None for each part if it is None.   Raises ValueError"""
        shapes = self._state_shapes(N)
        if state is None:
            return [None] * len(shapes)
        if not isinstance(state, tuple | list) or len(state) != len(shapes):
            got = f"has {len(state)} entries" if isinstance(state, tuple | list) else f"is a {kind_of(state)}"
            raise ValueError(
                f"{name} {got}: expected {len(shapes)} arrays, {', '.join(shapes)}; pass on what this {self.title} "
                "returned"
            )
        for i, ((what, shape), part) in enumerate(zip(shapes.items(), state, strict=True)):
            self._check(f"{name}[{i}]", part, shape, what)
        return state

    # ---- as a part of a Stack ----

    def checked_lengths(self, lengths: Lengths, x: Array) -> Array:
        """`lengths` as an array on the device of this layer.   Raises TypeError, ValueError."""
        self._check_input(x)
        if x.ndim == 2:
            raise ValueError("got lengths for one step, x (N, D): expected a sequence, x (T, N, D); leave lengths out")
        T, N, _ = x.shape
        with self.backend.device_of(x):
            return check_lengths(lengths, N, T, self.backend, self._device, f"this {self.title}")

    def forward_part(self, x: Array, state: Any, lengths: Any, *, training: bool) -> tuple[Array, State]:
        return self._run(x, state, lengths, training=training)

    def backward_part(self, dh: Array, dfinal: Any, cache: Any, needs_dx: bool) -> tuple[ArrayIfNeeded, State]:
        return self.backward(dh, dfinal, cache=cache, needs_dx=needs_dx)
