"""The Elman recurrent layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from xrnn.arrays.select import backend_of
from xrnn.backend import Backend
from xrnn.checks import check_bool, check_leak, logit_of_leak
from xrnn.layers.base import ByName
from xrnn.layers.recurrent import Cache, RecurrentLayer, SingleStateLayer
from xrnn.ops.cell import Cell
from xrnn.ops.cells.rnn import NONLINEARITIES, LeakyRNNCell, Nonlinearity, RNNCell, TrainedLeak, TrainedLeakRNNCell
from xrnn.typing import Array, ArrayIfNeeded, DType


class LeakyLayer(RecurrentLayer):
    """What the layers with a leak share: `RNN` says what the arguments mean."""

    leak_logit = ByName("leak_logit")
    _leaky_cell: ClassVar[Any]  # the class of the cell with a given leak
    _trained_cell: ClassVar[Any]  # and of the cell that trains its leak

    def __init__(
        self,
        Wx: Array,
        Wh: Array,
        b: Array,
        leak_logit: Array | None = None,
        *,
        nonlinearity: Nonlinearity = "tanh",
        leak: float | Sequence[float] | Array | None = None,
        trains_leak: bool = False,
        reverse: bool = False,
    ) -> None:
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"unknown nonlinearity {nonlinearity!r}: expected one of {', '.join(NONLINEARITIES)}")
        trained: tuple[Any, ...] = ()
        if check_bool("trains_leak", trains_leak):
            trained = (_start_of_leak(leak, leak_logit, b),)
        elif leak_logit is not None:
            raise TypeError(
                "got leak_logit without trains_leak: expected it for a layer that trains its leak; add trains_leak=True"
            )
        make: Any = self._trained_cell if trained else self.cell_type
        super().__init__(make(nonlinearity=nonlinearity), Wx, Wh, b, *trained, reverse=reverse)
        self.nonlinearity: Nonlinearity = nonlinearity
        if trained:
            self._check_shape("leak_logit", trained[0], (self.hidden_size,), f"Wh is {Wh.shape}")
        elif leak is not None and (checked := check_leak(leak, b, self.backend)) is not None:
            with self.backend.device_of(b):
                self.cell = self._leaky_cell(checked, nonlinearity)

    @classmethod
    def init(
        cls,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: Nonlinearity = "tanh",
        leak: float | Sequence[float] | Array | None = None,
        trains_leak: bool = False,
        heads: int | None = None,
        reverse: bool = False,
        rng: np.random.Generator | int | None = None,
        dtype: DType = "float32",
        backend: str | Backend | None = None,
    ) -> Self:
        options = {"nonlinearity": nonlinearity, "leak": leak, "trains_leak": trains_leak, "reverse": reverse}
        return cls._with_new_weights(input_size, hidden_size, rng, dtype, backend, heads=heads, **options)

    @classmethod
    def _cell_with(cls, options: Mapping[str, Any]) -> Cell:
        nonlinearity = options.get("nonlinearity", "tanh")
        # With a leak in the options, the constructor makes leak_logit from it.
        trained = options.get("trains_leak") is True and options.get("leak") is None
        make: Any = cls._trained_cell if trained else cls.cell_type
        cell: Cell = make(nonlinearity=nonlinearity)
        return cell

    @property
    def trains_leak(self) -> bool:
        return isinstance(self.cell, TrainedLeak)

    @property
    def leak(self) -> float | Array | None:
        """A number, or an array (H,) with one for each unit; None for 1. If it is trained, its current value."""
        if self.trains_leak:
            with self.backend.device_of(self.params[3]):
                trained: Array = self.cell.coefficients(self.backend.xp, self.params[3:4])[0]
            return trained
        return getattr(self.cell, "leak", None)

    @property
    def options(self) -> dict[str, Any]:
        options = {"nonlinearity": self.nonlinearity, "leak": self.leak, "reverse": self.reverse}
        # Without trains_leak if it is False: files of layers without it stay as they are.
        return options | {"leak": None, "trains_leak": True} if self.trains_leak else options


class RNN(LeakyLayer, SingleStateLayer):
    """Elman recurrent layer: h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b), φ = tanh, relu or softplus   (Elman, 1990).

    With a leak: h[t] = (1 - leak) · h[t-1] + leak · φ(x[t] @ Wx + h[t-1] @ Wh + b)   (Jaeger et al., 2007).
    `CurrentRNN` has the leak before φ. softplus(z) = log(1 + exp(z)).

    Wx (D, H), Wh (H, H), b (H,): arrays of one backend, float32 or float64. The layer runs on that backend and uses
    these arrays without a copy. D is the input size, H the hidden size. Inputs are time-major, (T, N, D), for T time
    steps of a batch of N. An input (N, D) is one step of a batch.

    With k heads, Wh is (k, H/k, H/k). Head j has the units j · H/k … (j+1) · H/k - 1, and its h feeds its own units
    only, through Wh[j].

    With `trains_leak` the layer has a fourth parameter, leak_logit (H,): leak = σ(leak_logit), which stays in (0, 1].
    The constructor makes it from `leak`, or takes an array.

    leak         a number in (0, 1], or an array (H,) with one for each unit: dt/τ of a leaky unit. None means 1; with
                 `trains_leak` it starts at 0.5 if `init` gets no leak
    trains_leak  train the leak of each unit. It starts at `leak`, which must be below 1. The attribute `leak` is its
                 current value
    reverse      run from the last step to the first

    Raises TypeError for arrays of another kind, dtype or backend; ValueError for shapes that do not fit, an unknown
    nonlinearity, a leak outside (0, 1], or a start at 1.

    >>> rnn = RNN.init(input_size=3, hidden_size=8, rng=0, leak=0.5)
    >>> h = rnn.forward(np.zeros((20, 4, 3), "float32"))
    >>> h.shape
    (20, 4, 8)
    >>> dx, dh_prev = rnn.backward(np.ones_like(h))
    >>> [dp.shape for dp in rnn.grads]
    [(3, 8), (8, 8), (8,)]
    """

    cell_type = RNNCell
    _leaky_cell, _trained_cell = LeakyRNNCell, TrainedLeakRNNCell

    def __init__(
        self,
        Wx: Array,
        Wh: Array,
        b: Array,
        leak_logit: Array | None = None,
        *,
        nonlinearity: Nonlinearity = "tanh",
        leak: float | Sequence[float] | Array | None = None,
        trains_leak: bool = False,
        reverse: bool = False,
    ) -> None:
        options: dict[str, Any] = {"nonlinearity": nonlinearity, "leak": leak, "trains_leak": trains_leak}
        super().__init__(Wx, Wh, b, leak_logit, **options, reverse=reverse)
        self._gradient_names = ["dh_next"]

    def backward(
        self, dh_next: Array, *, cache: Cache | None = None, needs_dx: bool = True, dadd: Array | None = None
    ) -> tuple[ArrayIfNeeded, Array]:
        """The same as `SingleStateLayer.backward`. Only the name of the first argument differs."""
        return super().backward(dh_next, cache=cache, needs_dx=needs_dx, dadd=dadd)


def _start_of_leak(leak: Any, leak_logit: Any, b: Array) -> Any:
    """The leak_logit at which the training starts. One of `leak` and `leak_logit` is None."""
    if (leak is None) == (leak_logit is None):
        raise TypeError(
            f"got {'neither' if leak is None else 'both'} of leak and leak_logit with trains_leak: expected one of "
            "them, where the training starts; pass leak=0.5"
        )
    return logit_of_leak(leak, b, backend_of(b)) if leak_logit is None else leak_logit
