"""A module's weights as arrays. They are wrapped once, and again if their layout or the module's sizes change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from xrnn.exchange.torch_weights import CELLS, shapes
from xrnn.layers.store import LARGEST
from xrnn.torch.direction import Direction, Layouts, layouts_of
from xrnn.torch.fallbacks import reasons_of
from xrnn.torch.memory import memory_of
from xrnn.torch.unsupported import DTYPES, PLAIN, Unsupported, check_tensor

# mode, input_size, hidden_size, num_layers, bias, bidirectional, proj_size, and the names of the weights.
Sizes: TypeAlias = tuple[str, int, int, int, bool, bool, int, Sequence[str]]

# The attribute of a module that holds its wrapped weights.
WRAPPED: Final = "_xrnn_wrapped"
# The attribute of a module that only infers: "frozen" or "int8". Other modules have none.
INFERENCE: Final = "_xrnn_inference"

# The attributes of a module that determine its weights and their shapes.
_sizes_of_layers: Final = itemgetter(
    "mode", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "_flat_weights_names"
)
_sizes_of_cell: Final = itemgetter("input_size", "hidden_size", "bias")
_OF_CELLS: Final = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def mode_of(module: nn.Module) -> str:
    """The name of the module's cell in `CELLS`.   Raises Unsupported for an RNNCell with another nonlinearity."""
    mode: str | None = module.__dict__.get("mode")
    if mode is not None:
        return mode
    if isinstance(module, nn.LSTMCell):
        return "LSTM"
    if isinstance(module, nn.GRUCell):
        return "GRU"
    mode = f"RNN_{str(module.nonlinearity).upper()}"
    if mode not in CELLS:
        raise Unsupported(f"its nonlinearity is {module.nonlinearity!r}")
    return mode


def names_of(module: nn.Module) -> Sequence[str]:
    """The names of the weights of all directions of all layers."""
    attributes = module.__dict__
    if "mode" in attributes:
        return attributes["_flat_weights_names"]
    return _OF_CELLS if attributes["bias"] else _OF_CELLS[:2]


def sizes_of(module: nn.Module) -> Sizes:
    """A cell, such as nn.LSTMCell, has the sizes of one layer."""
    attributes = module.__dict__
    if "mode" in attributes:
        return _sizes_of_layers(attributes)
    D, H, bias = _sizes_of_cell(attributes)
    return mode_of(module), D, H, 1, bias, False, 0, names_of(module)


@dataclass(slots=True, eq=False)
class Wrapped:
    """The directions of all layers of a module. Copies and pickles of the module hold None instead."""

    sizes: Sizes
    dtype: torch.dtype  # of the input
    converted: bool  # from weights in bfloat16
    device: torch.device
    layouts: Layouts
    inference: str | None  # the module's INFERENCE
    versions: list[int]  # of the weights of a frozen module, which PyTorch counts in each change in place
    directions: list[Direction]

    def fits(self, module: nn.Module, x: Tensor, weights: list[Tensor], convert: bool) -> bool:
        return (
            sizes_of(module) == self.sizes
            and x.dtype is self.dtype
            and convert is self.converted
            and x.device == self.device
            and layouts_of(weights) == self.layouts
            and module.__dict__.get(INFERENCE) == self.inference
            and (self.inference is None or _versions_of(weights) == self.versions)
        )

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def weights_of(module: nn.Module) -> list[Tensor]:
    """The current weights of all directions of all layers.   Raises Unsupported if one is not a plain tensor."""
    parameters = module._parameters
    names = names_of(module)
    weights: list[Any]
    try:
        weights = [parameters[name] for name in names]
    except KeyError:  # a buffer, parametrised, or a replica of nn.DataParallel
        weights = [getattr(module, name, None) for name in names]
    if not PLAIN.issuperset(map(type, weights)):
        kind = next(type(w) for w in weights if type(w) not in PLAIN)
        raise Unsupported(f"a weight is a {kind.__name__}, not a plain tensor")
    return weights


def are_bfloat16(weights: list[Tensor]) -> bool:
    return all(w.dtype is torch.bfloat16 for w in weights)


def in_float32(module: nn.Module, weights: list[Tensor], x: Tensor) -> tuple[list[Tensor], list[Direction]]:
    """The weights of a module in bfloat16 as float32, for one call, and their directions.

    The conversions are operations of PyTorch, so that the gradients are bfloat16. The copies are not kept, except by a
    module that only infers.
    """
    if INFERENCE in module.__dict__:
        return weights, directions_of(module, weights, x, convert=True)
    weights = [w.float() for w in weights]
    return weights, _wrap(module, weights, x).directions


def directions_of(module: nn.Module, weights: list[Tensor], x: Tensor, *, convert: bool = False) -> list[Direction]:
    """The directions of all layers.   Raises Unsupported if the weights do not fit x or have no kernel.

    convert   compute with float32 copies of weights in bfloat16
    """
    wrapped: Wrapped | None = module.__dict__.get(WRAPPED)
    if wrapped and wrapped.fits(module, x, weights, convert):
        return wrapped.directions
    drop_wrapped(module)  # before `_wrap`, which may raise: the old weights must not stay in memory
    wrapped = _wrap(module, weights, x, convert)
    module.__dict__[WRAPPED] = wrapped  # replaced, not changed: another thread may be reading the old one
    return wrapped.directions


def drop_wrapped(module: nn.Module) -> None:
    module.__dict__.pop(WRAPPED, None)


def _wrap(module: nn.Module, given: list[Tensor], x: Tensor, convert: bool = False) -> Wrapped:
    sizes = sizes_of(module)
    mode, input_size, hidden_size, num_layers, bias, bidirectional, proj_size, names = sizes
    if proj_size:
        raise Unsupported(f"it has proj_size={proj_size}")
    if x.dtype not in DTYPES:
        raise Unsupported(f"no kernel computes in {x.dtype}")
    memory = memory_of(x.device)
    count = 2 if bidirectional else 1
    cell = CELLS[mode]
    width = (4 if bias else 2) + len(cell.params)
    expected = width * count * num_layers
    if len(given) != expected:
        raise Unsupported(
            f"it has {len(given)} weights, but num_layers={num_layers}, bidirectional={bidirectional} "
            f"and bias={bias} need {expected}"
        )
    weights = [w.detach().float() for w in given] if convert else given
    reasons = reasons_of(module)
    made = []
    for k in range(count * num_layers):
        own = slice(k * width, (k + 1) * width)
        D = input_size if k < count else count * hidden_size * cell.components
        wanted = shapes(cell, D, hidden_size, getattr(module, "heads", None), bias)
        for name, w, shape in zip(names[own], weights[own], wanted, strict=True):
            check_tensor(name, w, x)
            if w.shape != shape:
                raise Unsupported(f"{name} is {tuple(w.shape)}, not {shape}")
        made.append(Direction.of(mode, memory, k % count == 1, weights[own], reasons))
    inference: str | None = module.__dict__.get(INFERENCE)
    versions = _versions_of(given) if inference else []
    if inference == "int8":
        _check_int8(made, x.dtype)
    if inference:
        for direction in made:
            direction.freeze(int8=inference == "int8")
    return Wrapped(
        sizes=sizes,
        dtype=x.dtype,
        converted=convert,
        device=x.device,
        layouts=layouts_of(given),
        inference=inference,
        versions=versions,
        directions=made,
    )


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
        raise Unsupported("weights of 8 bits are made of float32 or bfloat16 weights on the CPU only")
    for direction in directions:
        if direction.Wh.ndim != 2 or max(len(direction.Wx), len(direction.Wh)) > LARGEST:
            raise Unsupported("weights of 8 bits have no heads, and at most 65,536 inputs and units")
        if not all(bool(w.isfinite().all()) for w in direction.tensors):
            raise Unsupported("a weight is NaN or infinite, which 8 bits cannot hold")
