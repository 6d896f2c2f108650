"""A module's weights, wrapped once and kept while their storage is the same."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from xrnn.interop.torch_weights import CELLS
from xrnn.torch.direction import Direction, Wrapped, storage_of
from xrnn.torch.memory import memory_of
from xrnn.torch.unsupported import DTYPES, PLAIN, Unsupported, check_tensor

# The attribute of a module that holds what was wrapped.
WRAPPED: Final = "_xrnn_wrapped"


def weights_of(module: nn.RNNBase) -> list[Tensor]:
    """The weights of all directions of all layers, as they are now.   Raises Unsupported for what is no tensor."""
    parameters = module._parameters
    try:
        weights = [parameters[name] for name in module._flat_weights_names]
    except KeyError:  # parametrised, or a replica of nn.DataParallel
        weights = [getattr(module, name, None) for name in module._flat_weights_names]
    for w in weights:
        if type(w) not in PLAIN:
            raise Unsupported(f"a weight is a {type(w).__name__}, no plain tensor")
    return weights


def directions_of(module: nn.RNNBase, weights: list[Tensor], x: Tensor) -> list[Direction]:
    """The directions of all layers.   Raises Unsupported where they don't fit x, or the kernels don't fit them."""
    kept: Wrapped | None = module.__dict__.get(WRAPPED)
    if kept and kept.fits(module.mode, x, weights):
        return kept.directions
    made = _wrap(module, weights, x)
    module.__dict__[WRAPPED] = made  # replaced whole, never changed: another thread may be reading the old one
    return made.directions


def _wrap(module: nn.RNNBase, weights: list[Tensor], x: Tensor) -> Wrapped:
    if module.proj_size:
        raise Unsupported("it has proj_size")
    if x.dtype not in DTYPES:
        raise Unsupported(f"the input is {x.dtype}")
    memory, directions = memory_of(x.device), 2 if module.bidirectional else 1
    each, made = len(weights) // (directions * module.num_layers), []
    for k in range(directions * module.num_layers):
        own = slice(k * each, (k + 1) * each)
        shapes = _shapes(module, module.input_size if k < directions else directions * module.hidden_size)
        for name, w, shape in zip(module._flat_weights_names[own], weights[own], shapes, strict=False):
            check_tensor(name, w, x)
            if w.shape != shape:
                raise Unsupported(f"{name} is {tuple(w.shape)}, not {shape}")
        made.append(Direction.of(module.mode, memory, k % directions == 1, weights[own]))
    return Wrapped(module.mode, x.dtype, x.device, storage_of(weights), made)


def _shapes(module: nn.RNNBase, D: int) -> list[tuple[int, ...]]:
    """Those of weight_ih, weight_hh, bias_ih and bias_hh."""
    H, rows = module.hidden_size, len(CELLS[module.mode].from_x) * module.hidden_size
    return [(rows, D), (rows, H), (rows,), (rows,)]
