"""The base class of the backends: an array namespace, and the operations that a backend may replace by faster ones.

An operation is a method of `Backend` only if some backend overrides it. All other operations use `backend.xp`. Each
method calls the plain form in `xrnn.ops`, which runs on any `xp`. A backend overrides only the operations that it
speeds up.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import numpy as np

from xrnn.ops import affine, causal_convolution, cross_entropy, int8, matrix_memory, recurrence, selective_scan
from xrnn.ops.causal_convolution import ConvolutionGradients, ConvolutionInputs, ConvolutionOutputs
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import Inputs, Outputs, Trace
from xrnn.ops.matrix_memory import MemoryGradients, MemoryInputs, MemoryOutputs
from xrnn.ops.products import Products, in_bfloat16
from xrnn.ops.selective_scan import ScanGradients, ScanInputs, ScanOutputs
from xrnn.precision import check_environment
from xrnn.precision import precision as precision
from xrnn.setting import Setting, within
from xrnn.typing import Array, ArrayIfNeeded, HostArray
from xrnn.weight_checks import check_setting

Operation: TypeAlias = Literal[
    "matmul_add",
    "recurrence_forward",
    "recurrence_backward",
    "affine_forward",
    "affine_backward",
    "cross_entropy",
    "add_rows",
    "int8_forward",
    "selective_scan_forward",
    "selective_scan_backward",
    "matrix_memory_forward",
    "matrix_memory_backward",
    "causal_convolution_forward",
    "causal_convolution_backward",
]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)
RECURRENCES: Final[tuple[Operation, ...]] = ("recurrence_forward", "recurrence_backward")
# The operations of selective state-space models, which have no cell.
STATE_SPACES: Final[tuple[Operation, ...]] = (
    "selective_scan_forward",
    "selective_scan_backward",
    "matrix_memory_forward",
    "matrix_memory_backward",
    "causal_convolution_forward",
    "causal_convolution_backward",
)
# The operations whose products of float32 arrays `set_precision` may change.
MULTIPLYING: Final[tuple[Operation, ...]] = (*RECURRENCES, "affine_forward", "affine_backward")

_parameters: Final[weakref.WeakValueDictionary[int, Any]] = weakref.WeakValueDictionary()  # of `parameter`, by id
_HOST: Final = contextlib.nullcontext()  # `device_of` of a backend with a single device


class BackendUnavailableError(RuntimeError):
    """The requested backend cannot run here. The message names the missing piece and the remedy.

    device_present   whether the machine has the device of the backend: `auto` then warns that it is not used
    """

    def __init__(self, message: str, *, device_present: bool = False) -> None:
        super().__init__(message)
        self.device_present = device_present


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which form of an operation runs, and why."""

    form: str  # "plain", or a form of the backend: "fused", "gemm", "one-block", …
    why: str


_SETTING: Final = os.environ.get("XRNN_FUSED", "").strip() or "1"


class FusedForms(Setting):
    """Whether the fused forms are used."""

    __slots__ = ("enabled",)

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled


_process: Final = FusedForms(_SETTING == "1")
_fused: ContextVar[FusedForms] = ContextVar("xrnn_fused", default=_process)
# The setting in effect. No function around it: that would make a step of a small layer 2 % slower.
fused_forms: Final = _fused.get


@contextlib.contextmanager
def use_fused(enabled: bool) -> Iterator[None]:
    """Within the block, use the fused forms (True), or only the plain forms (False).

    Outside such a block `XRNN_FUSED` decides: `0` for the plain forms, `1` (the default) for the fused forms. It is
    read once, when xrnn is imported. Generators and threads: see `use_precision`.

    >>> rnn, x = RNN.init(3, 8, rng=0), np.zeros((20, 4, 3), "float32")
    >>> with use_fused(False):
    ...     h = rnn(x)
    """
    with within(_fused, FusedForms(bool(enabled))):
        yield


@dataclass(frozen=True, slots=True)
class _Place:
    __array_interface__: dict[str, Any]


def outline_at(address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str) -> HostArray:
    """An array at an address that NumPy need not be able to read.   dtype: as in `__array_interface__`"""
    interface = {"version": 3, "data": (address, True), "shape": shape, "strides": strides, "typestr": dtype}
    return np.asarray(_Place(interface))


def is_parameter(array: Any) -> bool:
    """Whether `Backend.parameter` has made this array."""
    return _parameters.get(id(array)) is array


class Backend:
    """An array namespace `xp`, and the plain forms of the operations that a backend may override."""

    name: ClassVar[str]
    # True if the host can read an array without waiting for a device. Then indices are checked before use.
    reads_are_free: ClassVar[bool] = False
    # True if all arrays are on one device. Then calls do not compare or select devices.
    single_device: ClassVar[bool] = False
    # True if kernels are compiled and tested at their first use: `warm_up` then does it beforehand.
    compiles_at_first_use: ClassVar[bool] = False
    # DLPack's numbers of the devices that `xp.from_dlpack` accepts.
    dlpack_devices: ClassVar[tuple[int, ...]] = ()
    # The module with the text for `xrnn info`, imported when it is printed: `describe(backend)` → facts by name, and
    # `explain(backend, default, operation, cell, shapes, dtype)` → Explanation. Optional: `tables` after the forms.
    info: ClassVar[str] = ""

    def __init__(self, xp: ModuleType) -> None:
        if _SETTING not in ("0", "1"):  # raised here, not on import, so that commands can report it in one line
            raise ValueError(f"XRNN_FUSED is {_SETTING!r}: expected 0 for the plain forms, or 1; set one of them")
        check_environment()
        check_setting()
        self.xp: Any = xp
        self._products = Products(self.xp.ndarray.dot, self.xp.matmul, self.matmul_add)

    def __repr__(self) -> str:
        return f"<xrnn backend {self.name}>"

    def overrides(self, operation: Operation) -> bool:
        """Whether this backend has a form of its own of `operation`. Otherwise the plain form always runs."""
        return getattr(type(self), operation) is not getattr(Backend, operation)

    def owns(self, array: object) -> bool:
        """Whether `array` is an array of this backend. Subclasses are not: their operators may mean something else."""
        return type(array) is self.xp.ndarray

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """`array` on this backend. This is the only operation that moves data between backends."""
        return self.xp.asarray(array, dtype=dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Zeros, for a parameter or its gradient. A backend may choose the memory that its kernels read fastest."""
        return self.xp.zeros(shape, dtype)

    def parameter(self, array: Any, dtype: Any = None) -> Array:
        """A copy of `array` on this backend, in C order and in the memory of `zeros`, for a parameter."""
        values = self.asarray(array, dtype)
        made = self.zeros(values.shape, values.dtype)
        made[...] = values
        _parameters[id(made)] = made
        return made

    def to_numpy(self, array: Array) -> np.ndarray[Any, np.dtype[Any]]:
        """A copy of `array` on the host. A NumPy array is returned without a copy."""
        return np.asarray(array)

    def device_of(self, array: Array) -> AbstractContextManager[object]:
        """`with backend.device_of(x):` runs the block on the device of `x`. Callers of operations do this."""
        return _HOST

    def address(self, array: Array) -> int:
        """A number that is equal for two arrays if they start at the same place in memory."""
        return id(array)

    def outline(self, array: Array) -> HostArray:
        """An array at the place of `array`, to test arrays for overlap. It has no values: reading them is an error."""
        return outline_at(self.address(array), (1,), (1,), "|u1")

    def products(self) -> Products:
        """The matrix products of the plain forms, in the precision in effect.

        Without the fused forms, bfloat16 is emulated: the plain form is then the reference for kernels. Otherwise NumPy
        has no such products, and they stay in float32.
        """
        if precision().bfloat16 and not fused_forms().enabled:
            return in_bfloat16(self.xp, self._products)
        return self._products

    # ---- the operations ----

    def matmul_add(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b.   a (M, K), b (K, P), out (M, P)."""
        out += a.dot(b)

    def recurrence_forward(self, cell: Cell, inputs: Inputs, training: bool) -> Outputs:
        """→ states, z, kept: the arrays of a `Trace`; see `xrnn.ops.recurrence.forward`.

        Raises TypeError if the inputs do not fit each other. The layer then finds the wrong input and reports it.
        """
        inputs.check()
        trace = recurrence.forward(self.xp, self.products(), cell, inputs, training)
        return trace.states, trace.z, trace.kept

    def recurrence_backward(
        self,
        cell: Cell,
        trace: Trace,
        dstates: Sequence[Array | None],
        grads: Sequence[Array] | None,
        needs_dx: bool = True,
        dadd: Array | None = None,
    ) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
        """The gradients of `recurrence_forward` → dx, dinitial; see `xrnn.ops.recurrence.backward`.

        If `grads` is None, the gradients of the weights are not computed. Without `needs_dx`, dx is not computed, and
        None is returned for it. `dadd`, C-contiguous, is overwritten by the gradient of `Inputs.add`; None if it is not
        needed. The other gradients have the same bits in all cases.

        The operation includes the products after the loop over time, so that a form may compute them chunk by chunk and
        need not store dz for all steps.

        Raises TypeError if a gradient does not fit the trace, as `recurrence_forward`.
        """
        trace.check(dstates)
        return recurrence.backward(self.xp, self.products(), cell, trace, dstates, grads, needs_dx, dadd)

    def affine_forward(self, x: Array, W: Array, b: Array) -> Array:
        """y = x @ W + b; see `xrnn.ops.affine.forward`."""
        return affine.forward(self.products(), x, W, b)

    def affine_backward(
        self, x: Array, W: Array, dy: Array, dW: Array, db: Array, needs_dx: bool = True
    ) -> ArrayIfNeeded:
        """The gradients of `affine_forward` → dx, None unless `needs_dx`; see `xrnn.ops.affine.backward`."""
        return affine.backward(self.products(), x, W, dy, dW, db, needs_dx)

    def cross_entropy(self, logits: Array, targets: Array, weight: Array) -> tuple[Array, Array]:
        """→ loss, dlogits; see `xrnn.ops.cross_entropy.cross_entropy`."""
        return cross_entropy.cross_entropy(self.xp, logits, targets, weight)

    def add_rows(self, rows: Array, index: Array, out: Array) -> None:
        """out[v] = Σ rows[i] over the i with index[i] = v; see `xrnn.ops.affine.add_rows`."""
        affine.add_rows(self.xp, rows, index, out)

    def int8_forward(self, cell: Cell, inputs: Inputs) -> Outputs:
        """`recurrence_forward` for inference, with Wx and Wh of 8 bits; see `xrnn.ops.int8`."""
        inputs.check()
        trace = recurrence.forward(self.xp, int8.products(self.products()), cell, inputs, training=False)
        return trace.states, None, None

    def selective_scan_forward(self, inputs: ScanInputs, training: bool) -> ScanOutputs:
        """→ y, last, saved; see `xrnn.ops.selective_scan`. `saved` is None unless `training`.

        Raises TypeError if the inputs do not fit each other.
        """
        inputs.check()
        return selective_scan.forward(self.xp, inputs, training)

    def selective_scan_backward(
        self, inputs: ScanInputs, saved: Array, dy: Array | None, dlast: Array | None = None
    ) -> ScanGradients:
        """The gradients of `selective_scan_forward` by all operands, from those of y and last; None for zeros.

        saved   as the forward pass in training returned it
        """
        return selective_scan.backward(self.xp, inputs, saved, dy, dlast)

    def matrix_memory_forward(self, inputs: MemoryInputs, training: bool) -> MemoryOutputs:
        """→ y, last, saved; see `xrnn.ops.matrix_memory`. `saved` is None unless `training`.

        Raises TypeError if the inputs do not fit each other.
        """
        inputs.check()
        return matrix_memory.forward(self.xp, inputs, training)

    def matrix_memory_backward(
        self, inputs: MemoryInputs, saved: Array, dy: Array | None, dlast: Array | None = None
    ) -> MemoryGradients:
        """The gradients of `matrix_memory_forward` by all operands, from those of y and last; None for zeros.

        saved   as the forward pass in training returned it

        Raises TypeError if the operands do not fit each other.
        """
        inputs.check_backward(saved, dy, dlast)
        return matrix_memory.backward(self.xp, inputs, saved, dy, dlast)

    def causal_convolution_forward(self, inputs: ConvolutionInputs) -> ConvolutionOutputs:
        """→ y, last; see `xrnn.ops.causal_convolution`.   Raises TypeError if the inputs do not fit each other."""
        inputs.check()
        return causal_convolution.forward(self.xp, inputs)

    def causal_convolution_backward(
        self, inputs: ConvolutionInputs, dy: Array | None, dlast: Array | None = None
    ) -> ConvolutionGradients:
        """The gradients of `causal_convolution_forward` by all operands, from those of y and last; None for zeros."""
        return causal_convolution.backward(self.xp, inputs, dy, dlast)
