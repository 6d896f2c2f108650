"""How a recurrent layer keeps its weights: in arrays that may change, in frozen arrays, or in 8 bits.

A store runs the forward pass of its layer. Everything that depends on the kind of weights is here: whether they have
gradients, may be replaced, frozen or trained, and how a copy gets them back.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import is_read_only
from xrnn.layers.base import Layer, unchangeable
from xrnn.messages import kind_of
from xrnn.ops.cell import Cell
from xrnn.ops.inputs import FrozenWeights, Inputs, Outputs
from xrnn.ops.int8 import Int8Matrix
from xrnn.typing import Array

if TYPE_CHECKING:
    from xrnn.layers.recurrent import RecurrentLayer

LARGEST: Final = 2**16  # the most rows of an int8 matrix: 2¹⁶ · 255 · 128 < 2³¹, so no sum of 32 bits overflows


class Store:
    """Weights in arrays that may change between calls.

    run      (cell, inputs, training) → the result of `Backend.recurrence_forward`
    frozen   `Inputs.frozen` of an inference
    prefix   what the layer's title begins with

    The static methods are steps of the layer's own methods of these names. Here they are those of every layer.
    """

    reference: ClassVar[int] = 0  # the index of the parameter that decides the backend, dtype and device of the layer
    prefix: ClassVar[str] = ""
    run: Callable[[Cell, Inputs, bool], Outputs]
    frozen: FrozenWeights | None = None

    def __init__(self, title: str, backend: Backend, params: Sequence[Array]) -> None:
        self.run = backend.recurrence_forward

    def check_training(self, what: str) -> None:
        """Raises RuntimeError if the layer can't be trained.   what: the method that was called"""

    @staticmethod
    def check_kinds(layer: Layer) -> None:
        Layer._check_kinds(layer)

    @staticmethod
    def make_grads(layer: Layer) -> None:
        Layer._make_grads(layer)

    @staticmethod
    def accept_replaced(layer: Layer) -> None:
        Layer._accept_replaced(layer)

    @staticmethod
    def freeze(layer: RecurrentLayer) -> None:
        Layer.freeze_params(layer)
        layer.store = FrozenStore(layer.title, layer.backend, layer.params)

    @staticmethod
    def is_frozen(layer: Layer) -> bool:
        return is_read_only(layer.params[0])

    @staticmethod
    def restored(params: list[Array]) -> list[Array]:
        """The parameters of a copy, from the copied arrays, which may change."""
        return params


class FrozenStore(Store):
    """Weights that cannot change."""

    def __init__(self, title: str, backend: Backend, params: Sequence[Array]) -> None:
        super().__init__(title, backend, params)
        self.frozen = FrozenWeights(params[0], params[1])


class Int8Store(Store):
    """Wx and Wh in 8 bits, for inference. The scales of their columns are the last two parameters."""

    name: ClassVar[str] = "int8"  # in files
    reference = 2  # b
    prefix = "quantized "
    scales: ClassVar[tuple[str, str]] = ("Wx_scale", "Wh_scale")

    def __init__(self, title: str, backend: Backend, params: Sequence[Array]) -> None:
        Wx, Wh, _, *self._own, Wx_scale, Wh_scale = params
        self._matrices = Int8Matrix(Wx, Wx_scale), Int8Matrix(Wh, Wh_scale)
        self.frozen = FrozenWeights(*self._matrices)
        self._title, self._backend = title, backend

    def run(self, cell: Cell, inputs: Inputs, training: bool) -> Outputs:
        if training:
            self.check_training("forward")
        inputs.Wx, inputs.Wh = self._matrices
        inputs.own = self._own
        return self._backend.int8_forward(cell, inputs)

    def check_training(self, what: str) -> None:
        raise RuntimeError(
            f"{what} of a {self._title}: expected a call or stream, because integers of 8 bits can't be trained; train "
            "the float32 layer, then quantize it again"
        )

    @staticmethod
    def check_kinds(layer: Layer) -> None:
        """`flat` has checked the arrays."""

    @staticmethod
    def make_grads(layer: Layer) -> None:
        layer.grads = []

    @staticmethod
    def accept_replaced(layer: Layer) -> None:
        if any(map(operator.is_not, layer.params, layer._registered)):
            raise ValueError(
                f"params of this {layer.title} were replaced: expected the arrays that it was made of; quantize the "
                "float32 layer again"
            )

    @staticmethod
    def freeze(layer: RecurrentLayer) -> None:
        """The arrays can't change already."""

    @staticmethod
    def is_frozen(layer: Layer) -> bool:
        return False  # it is called quantized, not frozen

    @staticmethod
    def restored(params: list[Array]) -> list[Array]:
        return [unchangeable(param) for param in params]

    @staticmethod
    def flat(title: str, names: Sequence[str], params: Sequence[Any]) -> list[Array]:
        """The arrays of the store.   params: Wx and Wh as Int8Matrix, b, and the cell's own parameters

        Raises TypeError for arrays of another type or dtype, ValueError for matrices that are empty or too large.
        """
        Wx, Wh, *others = params
        if not isinstance(Wx, Int8Matrix) or not isinstance(Wh, Int8Matrix):
            raise TypeError(f"one of Wx and Wh of this {title} is an Int8Matrix: expected none or both; use quantize")
        arrays = [Wx.values, Wh.values, *others, Wx.scale, Wh.scale]
        for i, (name, array) in enumerate(zip(names, arrays, strict=True)):
            dtype = "int8" if i < 2 else "float32"
            if type(array) is not np.ndarray or array.dtype != dtype:
                got = f"{kind_of(array)}{f' of {array.dtype}' if hasattr(array, 'dtype') else ''}"
                raise TypeError(f"{name} is a {got}: expected {dtype}, with backend='numpy'; use quantize")
        for name, matrix in (("Wx", Wx), ("Wh", Wh)):
            if matrix.values.ndim != 2 or not len(matrix) or matrix.scale.shape != matrix.shape[1:]:
                raise ValueError(
                    f"{name} has shape {matrix.shape} and its scale {matrix.scale.shape}: expected a matrix with one "
                    "scale for each column; use quantize"
                )
        if max(len(Wx), len(Wh)) > LARGEST:
            raise ValueError(
                f"this {title} has {len(Wx):,} inputs and {len(Wh):,} units: expected at most {LARGEST:,} of each, "
                "because the sums have 32 bits; keep the float32 layer"
            )
        return [unchangeable(array) for array in arrays]
