"""Recurrent layers with weights of 8 bits, for inference on the CPU."""

from __future__ import annotations

import copy

import numpy as np

from xrnn.layers.composite import Composite
from xrnn.layers.frozen import AnyLayer, parts_of
from xrnn.layers.network import Network
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.messages import kind_of
from xrnn.ops.int8 import quantize_columns


def quantize(layer: AnyLayer) -> AnyLayer:
    """A copy of a recurrent layer with weights of 8 bits, for inference: a call and `stream`.

    layer   a recurrent layer in float32 on the NumPy backend; or a Stack, Bidirectional or Network, whose recurrent
            layers are quantized: its other layers keep float32

    Each column of Wx and Wh has one scale, and so has each row of x and h in each step. The products are computed from
    integers of 8 bits and summed exactly; biases, gates, states and a cell's own parameters stay float32. Each rounded
    number is off by at most 1/254 of the largest in its column or row. A step of a large layer at a small batch size is
    faster, because reading the weights takes most of its time, and they have a quarter of the bytes. So has a file. The
    first call adds a copy of the weights in the order of the kernels: the layer then takes half of the memory of the
    float32 layer. Cells without a kernel run in the plain form.

    The parameters are read-only arrays: int8 `Wx` (D, parts · H) and `Wh` (H, parts · H), `b`, the cell's own, and at
    the end `Wx_scale` and `Wh_scale` (parts · H,): a weight is the integer times the scale of its column. `forward`,
    `backward` and optimizers refuse the layer.

    Raises TypeError for another layer; ValueError for another dtype or backend, for more than 65,536 inputs or units,
    and for weights with NaN, infinity or several heads.

    >>> gru = quantize(GRU.init(3, 8, rng=0))
    >>> h, state = gru.stream(np.zeros((1, 3), "float32"))
    >>> h.shape
    (1, 8)
    """
    recurrent = [part for part in parts_of(layer) if isinstance(part, RecurrentLayer)]
    if isinstance(layer, Composite | Network) and recurrent:
        return copy.deepcopy(layer, {id(part): quantize(part) for part in recurrent})
    if not isinstance(layer, RecurrentLayer) or layer.is_int8:
        got = layer.title if isinstance(layer, RecurrentLayer) else kind_of(layer)
        raise TypeError(f"layer is a {got}: expected a recurrent layer in float32; pass one of the layers of a model")
    title = layer.title
    for name, want, got in (
        ("dtype", "float32", layer.params[0].dtype.name),
        ("backend", "numpy", layer.backend.name),
    ):
        if got != want:
            raise ValueError(f"{name} of this {title} is {got}: expected {want}; create the layer with {name}={want}")
    if layer.heads is not None:
        raise ValueError(f"this {title} has {layer.heads} heads: expected a matrix Wh; use freeze, which keeps float32")
    for name, param in layer.named_params.items():
        if not np.isfinite(param).all():
            raise ValueError(f"{name} of this {title} has NaN or infinity: train it again")
    Wx, Wh, *others = layer.params
    return layer.remade(quantize_columns(Wx), quantize_columns(Wh), *others)
