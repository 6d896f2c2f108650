"""A module's weights as arrays. They are wrapped once, and again if their layout or the module's sizes change."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import torch
from torch import Tensor, nn

from xrnn.exchange.torch_weights import CELLS, shapes
from xrnn.layers.store import LARGEST
from xrnn.torch.direction import Direction, Layouts, layouts_of
from xrnn.torch.fallbacks import reasons_of
from xrnn.torch.memory import memory_of
from xrnn.torch.unsupported import DTYPES, PLAIN, Unsupported, check_tensor

# The attribute of a module that holds its wrapped weights.
WRAPPED: Final = "_xrnn_wrapped"
# The attribute of a module that only infers: "frozen" or "int8". Other modules have none.
INFERENCE: Final = "_xrnn_inference"

# The attributes of a module that determine its weights and their shapes.
_sizes_of: Final = itemgetter(
    "mode", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "_flat_weights_names"
)


@dataclass(slots=True, eq=False)
class Wrapped:
    """The directions of all layers of a module. Copies and pickles of the module hold None instead."""

    sizes: tuple[Any, ...]
    dtype: torch.dtype
    device: torch.device
    layouts: Layouts
    inference: str | None  # the module's INFERENCE
    versions: list[int]  # of the weights of a frozen module, which PyTorch counts in each change in place
    directions: list[Direction]

    def fits(self, module: nn.RNNBase, x: Tensor, weights: list[Tensor]) -> bool:
        return (
            _sizes_of(module.__dict__) == self.sizes
            and x.dtype is self.dtype
            and x.device == self.device
            and layouts_of(weights) == self.layouts
            and module.__dict__.get(INFERENCE) == self.inference
            and (self.inference is None or _versions_of(weights) == self.versions)
        )

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def weights_of(module: nn.RNNBase) -> list[Tensor]:
    """The current weights of all directions of all layers.   Raises Unsupported if one is not a plain tensor."""
    parameters = module._parameters
    try:
        weights = [parameters[name] for name in module._flat_weights_names]
    except KeyError:  # a buffer, parametrised, or a replica of nn.DataParallel
        weights = [getattr(module, name, None) for name in module._flat_weights_names]
    if not PLAIN.issuperset(map(type, weights)):
        kind = next(type(w) for w in weights if type(w) not in PLAIN)
        raise Unsupported(f"a weight is a {kind.__name__}, not a plain tensor")
    return weights


def directions_of(module: nn.RNNBase, weights: list[Tensor], x: Tensor) -> list[Direction]:
    """The directions of all layers.   Raises Unsupported if the weights do not fit x or have no kernel."""
    wrapped: Wrapped | None = module.__dict__.get(WRAPPED)
    if wrapped and wrapped.fits(module, x, weights):
        return wrapped.directions
    drop_wrapped(module)  # before `_wrap`, which may raise: the old weights must not stay in memory
    wrapped = _wrap(module, weights, x)
    module.__dict__[WRAPPED] = wrapped  # replaced, not changed: another thread may be reading the old one
    return wrapped.directions


def drop_wrapped(module: nn.Module) -> None:
    module.__dict__.pop(WRAPPED, None)


def _wrap(module: nn.RNNBase, weights: list[Tensor], x: Tensor) -> Wrapped:
    if module.proj_size:
        raise Unsupported(f"it has proj_size={module.proj_size}")
    if x.dtype not in DTYPES:
        raise Unsupported(f"no kernel computes in {x.dtype}")
    memory, count, cell = memory_of(x.device), 2 if module.bidirectional else 1, CELLS[module.mode]
    width = (4 if module.bias else 2) + len(cell.params)
    expected = width * count * module.num_layers
    if len(weights) != expected:
        raise Unsupported(
            f"it has {len(weights)} weights, but num_layers={module.num_layers}, bidirectional={module.bidirectional} "
            f"and bias={module.bias} need {expected}"
        )
    reasons = reasons_of(module)
    made = []
    for k in range(count * module.num_layers):
        own = slice(k * width, (k + 1) * width)
        D = module.input_size if k < count else count * module.hidden_size * cell.components
        wanted = shapes(cell, D, module.hidden_size, getattr(module, "heads", None), module.bias)
        for name, w, shape in zip(module._flat_weights_names[own], weights[own], wanted, strict=True):
            check_tensor(name, w, x)
            if w.shape != shape:
                raise Unsupported(f"{name} is {tuple(w.shape)}, not {shape}")
        made.append(Direction.of(module.mode, memory, k % count == 1, weights[own], reasons))
    inference: str | None = module.__dict__.get(INFERENCE)
    versions = _versions_of(weights) if inference else []
    if inference == "int8":
        _check_int8(made, x.dtype)
    if inference:
        for direction in made:
            direction.freeze(int8=inference == "int8")
    return Wrapped(_sizes_of(module.__dict__), x.dtype, x.device, layouts_of(weights), inference, versions, made)


def _versions_of(weights: list[Tensor]) -> list[int]:
    if any(w.is_inference() for w in weights):
        raise Unsupported(
            "it is frozen, and its weights are inference tensors, whose changes PyTorch does not count: make the "
            "module outside of torch.inference_mode"
        )
    return [w._version for w in weights]


def _check_int8(directions: list[Direction], dtype: torch.dtype) -> None:
    """Raises Unsupported unless the weights can be quantized, as `xrnn.quantize`."""
    if dtype is not torch.float32 or directions[0].memory.backend.name != "numpy":
        raise Unsupported("weights of 8 bits are made of float32 weights on the CPU only")
    for direction in directions:
        if direction.Wh.ndim != 2 or max(len(direction.Wx), len(direction.Wh)) > LARGEST:
            raise Unsupported("weights of 8 bits have no heads, and at most 65,536 inputs and units")
        if not all(bool(w.isfinite().all()) for w in direction.tensors):
            raise Unsupported("a weight is NaN or infinite, which 8 bits cannot hold")
