"""Dropout. Seed, layer, forward call and position determine the mask."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from xrnn.arrays.select import backend_of
from xrnn.backend import Backend
from xrnn.checks import check_float, check_integer, check_number, check_place
from xrnn.layers.base import given_or_last
from xrnn.ops.random import keep
from xrnn.typing import Array


class Dropout:
    """y = x · m / (1 - p), where each m is 0 with probability p, else 1   (Srivastava et al., 2014).

    A call is the identity.

    seed    an integer from 0; None draws a fresh one
    layer   an integer from 0, different for each dropout layer that has the same seed

    rows    set it if x has only some rows of a batch: (the size of the batch, the indices of these rows, an integer
            array on the device of x). The rows then get the mask that they have in the complete batch.

    `forward_calls` counts the forward calls. Set it to resume a run. The mask is a hash of (seed, layer, forward_calls,
    position), so it is the same on every backend and in a resumed run.

    Raises ValueError for p outside [0, 1), TypeError and ValueError if seed or layer is not an integer from 0.

    >>> dropout = Dropout(0.5, seed=0)
    >>> x = np.ones((4, 8), "float32")
    >>> sorted(set(dropout.forward(x).ravel().tolist()))
    [0.0, 2.0]
    >>> bool((dropout(x) == x).all())  # a call is inference
    True
    """

    names: ClassVar[tuple[str, ...]] = ()
    rows: tuple[int, Array] | None = None

    def __init__(self, p: float, *, seed: int | None = None, layer: int = 0) -> None:
        check_number("p", p, "a probability in [0, 1)", lambda p: 0 <= p < 1)
        self.p = float(p)
        if seed is None:
            seed = int(np.random.default_rng().integers(2**63))
        self.seed, self.layer = check_integer("seed", seed, least=0), check_integer("layer", layer, least=0)
        self.forward_calls = 0
        self.params: list[Array] = []
        self.grads: list[Array] = []
        self.cache: Array | None = None  # m / (1 - p)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the cache."""
        return vars(self) | {"cache": None}

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments: `Dropout(**layer.options)` makes an equal layer without forward calls."""
        return {"p": self.p, "seed": self.seed, "layer": self.layer}

    @property
    def named_params(self) -> dict[str, Array]:
        """Empty: dropout has no parameters."""
        return {}

    def __repr__(self) -> str:
        return f"Dropout({self.p}, seed={self.seed}, layer={self.layer})"

    def forward(self, x: Array) -> Array:
        """x (...), float32 or float64 → y of its shape and dtype; advances `forward_calls`."""
        backend = check_float("x", x)
        with backend.device_of(x):
            self.cache = self._scaled_mask(backend, x)
            self.forward_calls += 1
            return x * self.cache

    def backward(self, dy: Array, *, cache: Array | None = None) -> Array:
        """dx = dy · m / (1 - p), with the m of the last forward, or of the forward that left this `cache`."""
        m: Array = given_or_last(cache, self.cache, object, "x")
        backend = backend_of(m)
        check_place("dy", dy, backend, m.device, "what forward returned")
        if dy.shape != m.shape or dy.dtype != m.dtype:
            raise ValueError(f"dy is {dy.dtype} {dy.shape}, but forward returned {m.dtype} {m.shape}: match it")
        with backend.device_of(m):
            return dy * m

    def __call__(self, x: Array) -> Array:
        """Inference: the identity."""
        return x

    def _scaled_mask(self, backend: Backend, x: Array) -> Array:
        """m / (1 - p)."""
        words = (self.seed, self.layer, self.forward_calls)
        if self.rows is None:
            kept = keep(backend.xp, x.shape, self.p, words)
        else:
            batch, rows = self.rows
            kept = keep(backend.xp, (*x.shape[:-2], batch, x.shape[-1]), self.p, words)[..., rows, :]
        return kept.astype(x.dtype) / (1 - self.p)
