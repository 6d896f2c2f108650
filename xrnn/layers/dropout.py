"""Dropout with a mask that is a function of seed, layer and step."""

from __future__ import annotations

from typing import Any, ClassVar

from xrnn.backend import Backend
from xrnn.ops.rnn import Array
from xrnn.select import backend_of


class Dropout:
    """y = x · m / (1 - p), each m 0 with probability p, else 1   (Srivastava et al., 2014). A call is the identity.

    The mask hashes (seed, layer, step, position), so that it is the same on every backend and a resumed run goes
    on where it was. `layer` tells the dropout layers of a model apart; `step` counts the forwards and may be set.
    """

    names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, p: float, *, seed: int = 0, layer: int = 0) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"p is {p}: expected a probability in [0, 1)")
        self.p, self.seed, self.layer = p, seed, layer
        self.step = 0
        self.params: list[Array] = []
        self.grads: list[Array] = []
        self.cache: Array | None = None

    @property
    def named_params(self) -> dict[str, Array]:
        """None: dropout has no parameters."""
        return {}

    def forward(self, x: Array) -> Array:
        """x of any shape → y of that shape; advances `step`."""
        backend = backend_of(x, "x")
        self.cache = self._mask(backend, x.shape, x.dtype)
        self.step += 1
        return x * self.cache

    def backward(self, dy: Array) -> Array:
        """dx = dy · m / (1 - p)."""
        if self.cache is None:
            raise RuntimeError("backward needs a forward before it: call forward(x) first")
        if dy.shape != self.cache.shape:
            raise ValueError(f"dy has shape {dy.shape}, but forward returned {self.cache.shape}")
        return dy * self.cache

    def __call__(self, x: Array) -> Array:
        """Inference: the identity."""
        return x

    def _mask(self, backend: Backend, shape: tuple[int, ...], dtype: Any) -> Any:
        xp = backend.xp
        size = 1
        for n in shape:
            size *= n
        keys = xp.arange(size, dtype=xp.uint32)
        for word in (self.seed, self.layer, self.step):
            keys ^= xp.uint32(_mix_int(word))
            _mix(xp, keys)
        keep = keys >= xp.uint32(int(self.p * 2**32))
        return (keep.astype(dtype) / (1 - self.p)).astype(dtype).reshape(shape)


def _mix(xp: Any, keys: Array) -> None:
    """The 32-bit integer hash of C. Wellons' hash-prospector ("lowbias32"), in place."""
    keys ^= keys >> 16
    keys *= xp.uint32(0x7FEB352D)
    keys ^= keys >> 15
    keys *= xp.uint32(0x846CA68B)
    keys ^= keys >> 16


def _mix_int(word: int) -> int:
    # A large odd multiplier spreads small words over all bits before they meet the positions.
    return (word * 0x9E3779B1 + 0x85EBCA6B) & 0xFFFFFFFF
