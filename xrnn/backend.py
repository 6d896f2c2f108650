"""A backend: an array library and the few operations it can do faster than the plain form.

An operation is a method here only when some backend overrides it; everything else is `backend.xp`. Each method's
body is its plain form, on any `xp`, so that a backend overrides only what it speeds up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import numpy as np

from xrnn.ops import rnn
from xrnn.ops.rnn import RNNCache, RNNCell
from xrnn.typing import Array

Operation: TypeAlias = Literal[
    "matmul_add", "recurrence_forward", "recurrence_backward", "affine_forward", "affine_backward", "cross_entropy"
]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

_HOST: Final = contextlib.nullcontext()  # there is one host, nothing to choose
_ONE_HOT_SIZE: Final = 2**24  # elements of the one-hot matrix in `add_rows`: 64 MB in float32


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for can't run here; the message names the missing piece and what mends it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which form of an operation runs, and why."""

    form: str  # "plain", or the backend's own: "fused", "gemm", "one-block", …
    why: str


_SETTING: Final = os.environ.get("XRNN_FUSED", "").strip() or "1"
_fused: ContextVar[bool] = ContextVar("xrnn_fused", default=_SETTING == "1")


@contextlib.contextmanager
def use_fused(enabled: bool) -> Iterator[None]:
    """Within the block, take the fused forms (True) or the plain form everywhere (False).

    Outside any block `XRNN_FUSED` decides, as it was when xrnn was imported (`0`: plain; the default is fused).
    """
    token = _fused.set(bool(enabled))
    try:
        yield
    finally:
        _fused.reset(token)


def fused_enabled() -> bool:
    return _fused.get()


class Backend:
    """An array namespace `xp` and the operations of the seam, in their plain form."""

    name: ClassVar[str]
    # True where reading a value costs no wait, so that indices can be checked before use.
    reads_are_free: ClassVar[bool] = False

    def __init__(self, xp: ModuleType) -> None:
        if _SETTING not in ("0", "1"):  # said here, not at import, so that a command can say it in one line
            raise ValueError(f"XRNN_FUSED is {_SETTING!r}: expected 0 for the plain forms, or 1; set one of them")
        self.xp: Any = xp

    def __repr__(self) -> str:
        return f"<xrnn backend {self.name}>"

    def owns(self, array: object) -> bool:
        """Whether `array` is a plain array of this backend: no subclass, whose operators may mean something else."""
        return type(array) is self.xp.ndarray

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """`array`, moved to this backend if it lies elsewhere: the one explicit move to a device."""
        moved: Array = self.xp.asarray(array, dtype=dtype)
        return moved

    def to_numpy(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """A host copy of `array` (NumPy's own arrays come back as they are)."""
        return np.asarray(array)

    def device_of(self, array: Array) -> AbstractContextManager[object]:
        """`with backend.device_of(x):` runs the block on the device of `x`; whoever calls an operation does this."""
        return _HOST

    def describe(self) -> dict[str, str]:
        """Facts for `xrnn info`: devices, libraries and their versions."""
        return {}

    # ---- the seam ----

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b.   a (M, K), b (K, P), out (M, P)."""
        out += a @ b

    def recurrence_forward(
        self, cell: RNNCell, x: Array, Wx: Array, Wh: Array, b: Array, h_prev: Array | None
    ) -> RNNCache:
        """h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b) for the whole sequence; see `xrnn.ops.rnn.forward`."""
        return rnn.forward(self, cell, x, Wx, Wh, b, h_prev)

    def recurrence_backward(
        self, cell: RNNCell, cache: RNNCache, dh: Array, dWx: Array, dWh: Array, db: Array
    ) -> tuple[Array, Array]:
        """The gradients of `recurrence_forward` → dx, dh_prev; dWx, dWh, db are overwritten.

        Whole, not only the loop over time: a form that takes the products of dz while it goes never holds all of dz.
        One that has all of dz ends in `xrnn.ops.rnn.weight_gradients`, as this one does.
        """
        dz, dh_prev = rnn.backward(self, cell, cache, dh)
        return rnn.weight_gradients(self, cache, dz, dWx, dWh, db), dh_prev

    def affine_forward(self, x: Array, W: Array, b: Array) -> Array:
        """y = x @ W + b.   x (M, D), W (D, C), b (C,) → y (M, C)."""
        y: Array = self.xp.matmul(x, W)
        y += b
        return y

    def affine_backward(self, x: Array, W: Array, dy: Array, dW: Array, db: Array) -> Array:
        """dW = xᵀ @ dy, db = Σ dy, overwritten; dx = dy @ Wᵀ.   dy (M, C) → dx (M, D)."""
        xp = self.xp
        xp.matmul(x.T, dy, out=dW)
        xp.sum(dy, axis=0, out=db)
        dx: Array = xp.matmul(dy, W.T)
        return dx

    def cross_entropy(self, logits: Array, targets: Array, weight: Array) -> tuple[Array, Array]:
        """loss = -Σ weight · log p[target];  dlogits = (p - onehot(target)) · weight,  p = softmax(logits).

        logits (M, C), C > 0, targets (M,) in [0, C), weight (M,) → loss, 0-d; dlogits (M, C).
        """
        xp = self.xp
        picked = xp.arange(len(targets)), targets
        z = logits - logits.max(axis=-1, keepdims=True)  # so that no exponential overflows
        z_target = z[picked]
        p = xp.exp(z, out=z)
        total = p.sum(axis=-1)
        loss = xp.asarray(((xp.log(total) - z_target) * weight).sum())
        p *= (weight / total)[:, None]
        p[picked] -= weight
        return loss, p

    def add_rows(self, rows: Array, index: Array, out: Array) -> None:
        """out[v] = Σ rows[i] over the i with index[i] = v.   rows (M, E), index (M,), out (V, E) is overwritten.

        Products with the one-hot matrix, which sum in a fixed order, without float atomics; in blocks of rows of
        `out`, so that a large V needs no large memory.
        """
        xp = self.xp
        block = max(_ONE_HOT_SIZE // max(len(index), 1), 1)
        for start in range(0, len(out), block):
            part = out[start : start + block]
            one_hot = (xp.arange(start, start + len(part))[:, None] == index).astype(rows.dtype)
            xp.matmul(one_hot, rows, out=part)

    def explain(self, operation: Operation, cell: RNNCell, shapes: Mapping[str, int], dtype: Any) -> Explanation:
        """Which form of `operation` runs for these sizes (keys T, N, D, H) and dtype, and why."""
        if operation not in OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}: expected one of {', '.join(OPERATIONS)}")
        return Explanation("plain", f"the {self.name} backend has no other form of it")

    def explain_sizes(self, shapes: Mapping[str, int], dtype: Any) -> str:
        """What `xrnn info` prints of these sizes (keys T, N, D, H): the form that each operation takes."""
        sizes = ", ".join(f"{letter}={size}" for letter, size in shapes.items())
        lines = [f"forms at {sizes}, {np.dtype(dtype).name}:"]
        for operation in OPERATIONS:
            explanation = self.explain(operation, RNNCell(), shapes, dtype)
            lines.append(f"  {operation}: {explanation.form} ({explanation.why})")
        return "\n".join(lines)
