"""Copies of layers whose weights cannot change, for fast inference."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from xrnn.layers.base import Layer
from xrnn.layers.composite import Composite
from xrnn.layers.network import Network
from xrnn.messages import kind_of

AnyLayer = TypeVar("AnyLayer", bound="Layer | Composite | Network")


def freeze(layer: AnyLayer) -> AnyLayer:
    """A copy of a layer, for inference, whose weights cannot change.

    layer   any layer with parameters, or a Stack, Bidirectional or Network of layers; a quantized layer is only copied

    Before a sequence, the CPU kernels copy the weights into the layout in which they read them, or read them where they
    are. The weights of an ordinary layer may change, so each call does this. A frozen layer's weights are copied at the
    first call, on one thread, and not again. Calls with few rows or few steps and wide weights gain most. The results
    have the same bits. A frozen layer takes twice the memory of its weights: its parameters and their packed form.

    With NumPy, the parameters are read-only arrays, which NumPy refuses to make writable. Optimizers refuse them.
    `forward` and `backward` still work. PyTorch and some functions of SciPy can write to read-only arrays: a frozen
    layer does not notice that. Copies by `copy` and `pickle` are ordinary layers. With CuPy, `freeze` makes a copy.

    Raises TypeError for an object that is not such a layer.

    >>> lstm = freeze(LSTM.init(3, 8, rng=0))
    >>> h, state = lstm.stream(np.zeros((1, 3), "float32"))
    >>> lstm.Wx.flags.writeable
    False
    """
    if not isinstance(layer, Layer | Composite | Network):
        raise TypeError(f"layer is a {kind_of(layer)}: expected a layer with parameters; pass an LSTM, or a Stack")
    frozen = copy.deepcopy(layer)
    for part in parts_of(frozen):
        part.freeze_params()
    return frozen


def parts_of(layer: Any) -> list[Layer]:
    """All layers with parameters: those in a Stack, Bidirectional or Network, or the layer itself."""
    if isinstance(layer, Composite | Network):
        inner = layer.layers if isinstance(layer, Composite) else layer.values()
        return [part for inner_layer in inner for part in parts_of(inner_layer)]
    return [layer] if isinstance(layer, Layer) else []
