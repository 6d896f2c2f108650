"""A backend: an array library and the few operations it can do faster than the plain form.

An operation is a method here only when some backend overrides it; everything else is `backend.xp`. Each method calls
its plain form in `xrnn.ops`, on any `xp`, so that a backend overrides only what it speeds up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import numpy as np

from xrnn.ops import affine, cross_entropy, recurrence
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import Inputs, Trace
from xrnn.typing import Array, ArrayIfNeeded

Operation: TypeAlias = Literal[
    "matmul_add",
    "recurrence_forward",
    "recurrence_backward",
    "affine_forward",
    "affine_backward",
    "cross_entropy",
    "add_rows",
]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)
RECURRENCES: Final[tuple[Operation, ...]] = ("recurrence_forward", "recurrence_backward")

_HOST: Final = contextlib.nullcontext()  # there is one host, nothing to choose


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


fused_enabled: Final = _fused.get  # by itself: a function around it would cost a small layer's step 2 %


class Backend:
    """An array namespace `xp` and the operations of the seam, in their plain form."""

    name: ClassVar[str]
    # True where reading a value costs no wait, so that indices can be checked before use.
    reads_are_free: ClassVar[bool] = False
    # True if all arrays are on one device, so that a call neither compares nor selects devices.
    single_device: ClassVar[bool] = False
    # The remedy in the error for arrays on two devices.
    one_device_remedy: ClassVar[str] = "create both on one device"
    # DLPack's numbers of the devices whose memory `xp.from_dlpack` takes over.
    dlpack_devices: ClassVar[tuple[int, ...]] = ()

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

    def address(self, array: Array) -> int:
        """A number that is equal for arrays that start at the same place in memory."""
        return id(array)

    def describe(self) -> dict[str, str]:
        """Facts for `xrnn info`: devices, libraries and their versions."""
        return {}

    # ---- the seam ----

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b.   a (M, K), b (K, P), out (M, P)."""
        out += a.dot(b)

    def recurrence_forward(self, cell: Cell, inputs: Inputs, training: bool) -> Trace:
        """The states after each step, and what `recurrence_backward` needs; see `xrnn.ops.recurrence.forward`.

        Raises TypeError if the inputs do not fit each other. A layer relies on it, and then reports which one is wrong.
        """
        inputs.check()
        return recurrence.forward(self.xp, self.matmul_add, cell, inputs, training)

    def recurrence_backward(
        self,
        cell: Cell,
        trace: Trace,
        dstates: Sequence[Array | None],
        grads: Sequence[Array] | None,
        needs_dx: bool = True,
    ) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
        """The gradients of `recurrence_forward` → dx, dinitial; see `xrnn.ops.recurrence.backward`.

        What isn't needed takes neither time nor memory: `grads` may be None, and dx is, unless `needs_dx`. The other
        gradients have the same bits.

        Whole, not only the loop over time: a form that takes the products of dz while it goes never holds all of dz.
        """
        return recurrence.backward(self.xp, self.matmul_add, cell, trace, dstates, grads, needs_dx)

    def affine_forward(self, x: Array, W: Array, b: Array) -> Array:
        """y = x @ W + b; see `xrnn.ops.affine.forward`."""
        return affine.forward(self.xp, x, W, b)

    def affine_backward(
        self, x: Array, W: Array, dy: Array, dW: Array, db: Array, needs_dx: bool = True
    ) -> ArrayIfNeeded:
        """The gradients of `affine_forward` → dx, None unless `needs_dx`; see `xrnn.ops.affine.backward`."""
        return affine.backward(self.xp, x, W, dy, dW, db, needs_dx)

    def cross_entropy(self, logits: Array, targets: Array, weight: Array) -> tuple[Array, Array]:
        """→ loss, dlogits; see `xrnn.ops.cross_entropy.cross_entropy`."""
        return cross_entropy.cross_entropy(self.xp, logits, targets, weight)

    def add_rows(self, rows: Array, index: Array, out: Array) -> None:
        """out[v] = Σ rows[i] over the i with index[i] = v; see `xrnn.ops.affine.add_rows`."""
        affine.add_rows(self.xp, rows, index, out)

    def explain(self, operation: Operation, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> Explanation:
        """Which form of `operation` runs for these sizes (keys T, N, D, H) and dtype, and why."""
        if operation not in OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}: expected one of {', '.join(OPERATIONS)}")
        if not fused_enabled():
            return Explanation("plain", "XRNN_FUSED=0 or use_fused(False)")
        return Explanation("plain", f"the {self.name} backend has no other form of it")

    def explain_sizes(self, cell: Cell, shapes: Mapping[str, int], dtype: Any) -> str:
        """The text of `xrnn info` for these sizes (keys T, N, D, H): the form of each operation."""
        sizes = ", ".join(f"{letter}={size}" for letter, size in shapes.items())
        lines = [f"forms at {sizes}, {np.dtype(dtype).name}:"]
        for operation in OPERATIONS:
            explanation = self.explain(operation, cell, shapes, dtype)
            lines.append(f"  {operation}: {explanation.form} ({explanation.why})")
        return "\n".join(lines)
