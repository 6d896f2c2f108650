"""Recurrent layers with weights of 8 bits, for inference on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_leak, check_lengths
from xrnn.layers.gru import GRU
from xrnn.layers.lstm import LSTM
from xrnn.layers.recurrent import RecurrentLayer, single
from xrnn.layers.rnn import RNN
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import NONLINEARITIES, LeakyRNNCell, RNNCell
from xrnn.ops.int8 import Int8Matrix, Int8Weights, quantize_columns
from xrnn.select import backend_of, kind_of
from xrnn.typing import Array, HostArray

KINDS: Final = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
_LARGEST: Final = 2**16  # the most rows of a matrix: 2¹⁶ · 255 · 128 < 2³¹, so no sum of 32 bits overflows


def quantize(layer: RecurrentLayer) -> Quantized:
    """A copy of a layer with weights of 8 bits, for inference: `__call__` and `stream`.

    layer   RNN, LSTM or GRU in float32 on the NumPy backend, with reverse=False; a GRU with reset_after=True. For a
            Stack of them: `Stack([quantize(layer) for layer in stack.layers])`

    Each column of the weights has one scale, and so has each row of x and h in each step. The products are computed
    from integers of 8 bits and summed exactly; biases, gates and states stay float32. Each rounded number is off by at
    most 1/254 of the largest in its column or row. A step of a large layer at a small batch size is faster, because
    reading the weights takes most of its time, and they have a quarter of the bytes. So has a file. The first call adds
    a copy of the weights in the order of the kernels: the layer then takes half of the memory of the float32 layer.

    Raises TypeError for another layer; ValueError for another dtype, backend or option, for more than 65,536 inputs or
    units, and for weights with NaN or infinity.

    >>> gru = quantize(GRU.init(3, 8, rng=0))
    >>> h, state = gru.stream(np.zeros((1, 3), "float32"))
    >>> h.shape
    (1, 8)
    """
    if type(layer) not in KINDS.values():
        raise TypeError(f"layer is a {kind_of(layer)}: expected an RNN, LSTM or GRU; pass one of the layers of a model")
    title = layer.title
    for name, want, got in (
        ("dtype", "float32", layer.params[0].dtype.name),
        ("backend", "numpy", layer.backend.name),
        ("reverse", "False", str(layer.reverse)),
        ("reset_after", "True", str(getattr(layer, "reset_after", True))),
    ):
        if got != want:
            raise ValueError(f"{name} of this {title} is {got}: expected {want}; create the layer with {name}={want}")
    for name, param in layer.named_params.items():
        if not np.isfinite(param).all():
            raise ValueError(f"{name} of this {title} has NaN or infinity: expected finite weights; train it again")
    Wx, Wh = quantize_columns(layer.Wx), quantize_columns(layer.Wh)
    options = {name: value for name, value in layer.options.items() if name in ("leak", "nonlinearity")}
    return Quantized(Wx.values, Wx.scale, Wh.values, Wh.scale, layer.b.copy(), kind=title, **options)


class Quantized:
    """A recurrent layer with weights of 8 bits, for inference; see `quantize`, which makes it.

    Wx, Wh               (D, parts · H) and (H, parts · H), int8, columns as in the layer; parts: 1, 4 or 3, by kind
    Wx_scale, Wh_scale   (parts · H,) float32: a weight is the integer times the scale of its column
    b                    (pre · H,) float32; pre: 1, 4 or 4, by kind
    kind                 "RNN", "LSTM" or "GRU"
    leak, nonlinearity   those of an RNN

    A `Stack` may contain it. Optimizers have nothing to update: `params` and `grads` are empty.

    Raises TypeError for arrays of another type or dtype; ValueError for another kind, option or shape, and for an empty
    array.

    >>> lstm = quantize(LSTM.init(3, 8, rng=0))
    >>> h, c = lstm(np.zeros((20, 4, 3), "float32"))
    >>> h.shape
    (20, 4, 8)
    """

    names = ("Wx", "Wx_scale", "Wh", "Wh_scale", "b")
    # What a Stack expects of a layer. Constants here, because nothing is trained.
    streams = True
    updates = 0
    cache = None

    def __init__(
        self,
        Wx: HostArray,
        Wx_scale: HostArray,
        Wh: HostArray,
        Wh_scale: HostArray,
        b: HostArray,
        *,
        kind: str,
        leak: Any = None,
        nonlinearity: Any = "tanh",
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}: expected one of {', '.join(KINDS)}")
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"unknown nonlinearity {nonlinearity!r}: expected one of {', '.join(NONLINEARITIES)}")
        if kind != "RNN" and (leak is not None or nonlinearity != "tanh"):
            raise ValueError(f"this {kind} has a leak or a nonlinearity: expected none; only an RNN has them")
        self.kind, self.nonlinearity = kind, nonlinearity
        self._arrays = dict(zip(self.names, (Wx, Wx_scale, Wh, Wh_scale, b), strict=True))
        for name, array in self._arrays.items():
            wanted = "int8" if name in ("Wx", "Wh") else "float32"
            if type(array) is not np.ndarray or array.dtype != wanted:
                got = f"{kind_of(array)}{_dtype(array)}"
                raise TypeError(f"{name} is a {got}: expected {wanted}, with backend='numpy'; use quantize")
        self.backend: Backend = backend_of(b)
        self.leak = None if leak is None else check_leak(leak, b, self.backend)
        self.cell = self._make_cell()
        D, H = len(Wx) if Wx.ndim else 0, len(Wh) if Wh.ndim else 0
        X, R = len(self.cell.from_x) * H, len(self.cell.from_h) * H
        shapes = (D, X), (X,), (H, R), (R,), (self.cell.pre * H,)
        for (name, array), shape in zip(self._arrays.items(), shapes, strict=True):
            if array.shape != shape or not array.size:
                raise ValueError(f"{name} has shape {array.shape}, but this {self.title} expects {shape}; use quantize")
        if max(D, H) > _LARGEST:
            raise ValueError(
                f"this {self.title} has {D:,} inputs and {H:,} units: expected at most {_LARGEST:,} of each, because "
                "the sums have 32 bits; keep the float32 layer"
            )
        self.input_size, self.hidden_size, self.output_size = D, H, H
        self._weights = Int8Weights(Int8Matrix(Wx, Wx_scale), Int8Matrix(Wh, Wh_scale), b)

    def _make_cell(self) -> Cell:
        if self.kind == "LSTM":
            return LSTMCell()
        if self.kind == "GRU":
            return GRUCell()
        return RNNCell(self.nonlinearity) if self.leak is None else LeakyRNNCell(self.leak, self.nonlinearity)

    @property
    def title(self) -> str:
        """The layer's name in error messages."""
        return f"quantized {self.kind}"

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the constructor."""
        of_rnn = {"leak": self.leak, "nonlinearity": self.nonlinearity} if self.kind == "RNN" else {}
        return {"kind": self.kind} | of_rnn

    @property
    def named_params(self) -> dict[str, HostArray]:
        """The arrays by name, without copies. Do not change them."""
        return dict(self._arrays)

    def __repr__(self) -> str:
        count = sum(array.size for array in self._arrays.values())
        return f"Quantized {self.kind}({self.input_size} → {self.hidden_size}, {count:,} parameters, int8, numpy)"

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the arguments of the constructor."""
        return {"arrays": self._arrays, "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Quantized.__init__(self, *state["arrays"].values(), **state["options"])

    # ---- inference ----

    def __call__(self, x: Array, *states: Array | None, lengths: Any = None) -> Any:
        """One step, x (N, D) → h (N, H), or a sequence, x (T, N, D) → h after every step (T, N, H).

        states    the states before the first step, (N, H) each, None for zeros: h_prev, and c_prev of an LSTM
        lengths   (N,) integers in [0, T]: past its length a row keeps its state, and x has no effect there

        x and the states are float32 NumPy arrays. → h, or h and c of an LSTM, as the float32 layer's results.

        Raises TypeError for other arrays, ValueError for another shape or number of states, or lengths out of range.
        """
        return single([state[1] if x.ndim == 2 else state[1:] for state in self._run(x, states, lengths)])

    def stream(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Inference on the next step (N, D) or steps (T, N, D) of an endless signal → h, state.

        state   the state that the previous call returned; None at the beginning. The layer does not keep it

        Raises as `__call__`.
        """
        h, final = self.forward_part(x, state, None, training=False)
        return h, single(final)

    def _run(self, x: Array, initial: Sequence[Array | None], lengths: Any) -> Sequence[Array]:
        """Each state before the first step and after every step, (T + 1, N, H)."""
        names = [f"{state}_prev" for state in self.cell.states]
        if len(initial) not in (0, len(names)):
            raise ValueError(f"got {len(initial)} states, but this {self.title} has {len(names)}: {', '.join(names)}")
        self._check_input(x)
        steps = x if x.ndim == 3 else x[None]
        shape = steps.shape[1], self.hidden_size
        for name, state in zip(names, initial, strict=False):
            if state is None:
                continue
            if type(state) is not np.ndarray or state.dtype != np.float32:
                self._refuse_kind(name, state)
            if state.shape != shape:
                raise ValueError(f"{name} has shape {state.shape}, but this {self.title} expects {shape}: N as in x")
        if lengths is not None:
            lengths = self.checked_lengths(lengths, x)
        states = self.backend.int8_forward(self.cell, self._weights, steps, tuple(initial) or (None,) * len(names))
        if lengths is None:
            return states
        slots = np.minimum(np.arange(len(steps) + 1)[:, None], lengths)  # after its last step a row keeps its state
        return [np.take_along_axis(state, slots[:, :, None], axis=0) for state in states]

    def _check_input(self, x: Array) -> None:
        if type(x) is not np.ndarray or x.dtype != np.float32:
            self._refuse_kind("x", x)
        D = self.input_size
        if x.ndim not in (2, 3) or x.shape[-1] != D:
            raise ValueError(
                f"x has shape {x.shape}, but this {self.title} expects (N, {D}) for one step of a batch or (T, N, {D}) "
                "for a sequence: x[None] makes a batch of one vector"
            )

    def _refuse_kind(self, name: str, value: Any) -> NoReturn:
        raise TypeError(
            f"{name} is a {kind_of(value)}{_dtype(value)}, but this {self.title} computes with float32 on the host: "
            f'use xrnn.asarray({name}, "float32", backend="numpy")'
        )

    # ---- as a part of a Stack ----

    def checked_lengths(self, lengths: Any, x: Array) -> Array:
        """`lengths` as an array.   Raises TypeError, ValueError."""
        self._check_input(x)
        if x.ndim == 2:
            raise ValueError("got lengths for one step, x (N, D): expected a sequence, x (T, N, D); leave lengths out")
        b = self._weights.b
        return check_lengths(lengths, x.shape[1], len(x), self.backend, b.device, f"this {self.title}")

    def forward_part(self, x: Array, state: Any, lengths: Any, *, training: bool) -> tuple[Array, Sequence[Array]]:
        """→ h and the final states.   Raises RuntimeError if `training` is true."""
        if training:
            self._refuse_training("forward")
        initial = () if state is None else state if isinstance(state, tuple | list) else (state,)
        states = self._run(x, initial, lengths)
        return states[0][1] if x.ndim == 2 else states[0][1:], tuple([s[-1].copy() for s in states])

    def backward_part(self, *_: Any) -> NoReturn:
        """Raises RuntimeError."""
        self._refuse_training("backward")

    # ---- training ----

    @property
    def params(self) -> list[Array]:
        """Empty: optimizers have nothing to update. `named_params` has the arrays."""
        return []

    @property
    def grads(self) -> list[Array]:
        """Empty, as `params`."""
        return []

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        """Raises RuntimeError: a quantized layer is for inference."""
        self._refuse_training("forward")

    def backward(self, *_: Any, **__: Any) -> NoReturn:
        """Raises RuntimeError: a quantized layer is for inference."""
        self._refuse_training("backward")

    def _refuse_training(self, name: str) -> NoReturn:
        raise RuntimeError(
            f"{name} of a {self.title}: expected a call or stream, because integers of 8 bits can't be trained; train "
            "the float32 layer, then quantize it again"
        )


def _dtype(value: Any) -> str:
    """The dtype for an error; "" if there is none."""
    return f" of {value.dtype}" if hasattr(value, "dtype") else ""
