"""Copies of layers whose weights cannot change, for fast inference."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from xrnn.layers.base import Layer
from xrnn.layers.composite import Composite
from xrnn.layers.quantized import Quantized
from xrnn.select import kind_of

AnyLayer = TypeVar("AnyLayer", bound="Layer | Composite | Quantized")


def freeze(layer: AnyLayer) -> AnyLayer:
    """A copy of a layer, for inference, whose weights cannot change.

    layer   any layer, or a Stack or Bidirectional of layers

    The CPU kernels read weights fastest in an order of their own. An ordinary layer's weights are copied to that order
    in each call, or are read where they are, because they may have changed since the last call. A frozen layer's
    weights are copied once, at the first call. Calls with few rows or few steps and wide weights gain most. The results
    have the same bits. The copy takes as much memory as the weights.

    With NumPy, the parameters are read-only arrays that cannot be made writable, and optimizers refuse them. `backward`
    works as before. `copy.deepcopy` and `pickle` make an ordinary layer of it. On CuPy the copy is an ordinary layer.

    Raises TypeError for an object that is not a layer.

    >>> lstm = freeze(LSTM.init(3, 8, rng=0))
    >>> h, state = lstm.stream(np.zeros((1, 3), "float32"))
    >>> lstm.Wx.flags.writeable
    False
    """
    if not isinstance(layer, Layer | Composite | Quantized):
        raise TypeError(f"layer is a {kind_of(layer)}: expected a layer, such as an LSTM; pass the layers of a model")
    frozen = copy.deepcopy(layer)
    for part in _parts(frozen):
        part.freeze_params()
    return frozen


def _parts(layer: Any) -> list[Layer]:
    """The layers with parameters in a layer, or the layer itself."""
    if isinstance(layer, Composite):
        return [part for each in layer.layers for part in _parts(each)]
    return [layer] if isinstance(layer, Layer) else []
