"""Convert PyTorch's modules to layers and back: recurrent ones, Linear and Embedding."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xrnn.arrays.convert import to_numpy
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.cells import is_layer
from xrnn.exchange import torch_weights
from xrnn.exchange.model import unknown_cell
from xrnn.groups import HasParameters
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.embedding import Embedding
from xrnn.layers.linear import Linear
from xrnn.layers.slstm import SLSTM
from xrnn.layers.stack import Stack
from xrnn.messages import full_name, kind_of
from xrnn.optional import import_optional
from xrnn.typing import Array, HostArray

if TYPE_CHECKING:
    import torch

_RECURRENT: Final = sorted({layer.__name__ for layer, _ in torch_weights.MODES.values()})
_HOOKS: Final = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def import_torch(user: str) -> ModuleType:
    """PyTorch.   Raises ImportError as `import_optional`."""
    return import_optional("torch", user, "PyTorch")


# ---- from PyTorch ----


def from_torch(module: torch.nn.Module, *, backend: str | Backend | None = None) -> Any:
    """The layer that computes the same as a torch.nn.RNN, LSTM, GRU, Linear or Embedding.

    backend   the backend of the layer's arrays, which are copies: by default the selected one

    The modules of xrnn.torch are converted too. One layer of one direction becomes one recurrent layer, both
    directions a Bidirectional, several layers a Stack, with the module's dropout between them. Layers are time-first
    even if the module is `batch_first`. They always have a bias: the sum of PyTorch's two, or zeros if the module has
    none. Training changes all rows of an Embedding, that of a `padding_idx` too. Warns if a weight holds NaN or
    infinity.

    Raises TypeError for other modules, or weights that are not plain float32 or float64 tensors; ValueError for a
    `proj_size` or `max_norm`, a replaced `forward`, hooks, unusual keys in the state dict, and weights
    that are sparse, have other shapes or no values; ImportError without PyTorch.

    >>> import torch
    >>> from_torch(torch.nn.GRU(3, 8))
    GRU(3 → 8, 296 parameters, float32, numpy)
    """
    torch = import_torch("xrnn.from_torch")
    if type(module) in (torch.nn.Linear, torch.nn.Embedding):
        return _from_table(module, type(module) is torch.nn.Linear, get_backend(backend).parameter)
    if not isinstance(module, torch.nn.RNNBase):
        raise TypeError(
            f"module is a {full_name(type(module))}: expected torch.nn.RNN, LSTM, GRU, Linear or Embedding; convert "
            "the parts of a larger model one by one, and load a state dict into a module first"
        )
    if module.proj_size:
        raise ValueError(f"module has proj_size={module.proj_size}: expected proj_size=0; no layer of xrnn projects h")
    ways = (False, True) if module.bidirectional else (False,)
    places = [(layer, reverse) for layer in range(module.num_layers) for reverse in ways]
    if module.mode not in torch_weights.MODES:
        raise ValueError(f"module has mode={module.mode!r}: expected one of {', '.join(torch_weights.MODES)}")
    cls, options = torch_weights.MODES[module.mode]
    cell = torch_weights.CELLS[module.mode]
    names = [torch_weights.parameter_names(cell, *place, module.bias) for place in places]
    state = module.state_dict()
    target = get_backend(backend)
    _check_keys(state, [name for name_list in names for name in name_list])
    if type(module) not in [getattr(torch.nn, name, None) for name in _RECURRENT] and not _is_ours(type(module)):
        raise TypeError(
            f"module is a {full_name(type(module))}: expected torch.nn.RNN, LSTM or GRU themselves; a subclass may "
            "compute something else"
        )
    _check_calls(module)
    layers: list[Any] = []
    for (layer, reverse), its_names in zip(places, names, strict=True):
        D = module.hidden_size * cell.components * len(ways) if layer else module.input_size
        shapes = torch_weights.shapes(cell, D, module.hidden_size, getattr(module, "heads", None), module.bias)
        weights = torch_weights.from_torch(np, cell, *_values(state, dict(zip(its_names, shapes, strict=True))))
        layers.append(cls(*map(target.parameter, weights), **options, reverse=reverse))
    if module.bidirectional:
        layers = [Bidirectional(*pair) for pair in zip(layers[::2], layers[1::2], strict=True)]
    return Stack(layers, dropout=module.dropout) if module.num_layers > 1 else layers[0]


def _is_ours(kind: type) -> bool:
    """Whether xrnn.torch defines this type."""
    return kind.__module__.startswith("xrnn.torch.")


def _check_calls(module: Any) -> None:
    """Raises ValueError if `module` may compute something else than a plain module of its type."""
    own = vars(module).get("forward")
    accelerated = _is_ours(type(own)) and own.module is module
    # functools.wraps copies the name and the module of a function, but not its globals.
    of_class = getattr(type(module).forward, "__globals__", {}).get("__name__")
    if (own is not None and not accelerated) or of_class != type(module).__module__:
        raise ValueError(
            "module has a forward of its own: expected PyTorch's; delete it, or write a layer that computes the same"
        )
    for hooks in _HOOKS:
        if getattr(module, hooks):
            raise ValueError(
                f"module has {hooks[1:].replace('_', ' ')}: expected none, because a layer would not call them; call "
                "remove() of each handle that registering a hook returned"
            )


def _check_keys(state: Mapping[str, Any], expected: list[str]) -> None:
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or extra:
        got = " and ".join([*(f"lacks {name}" for name in missing[:1]), *(f"has {name}" for name in extra[:1])])
        raise ValueError(
            f"the state dict of module {got}: expected the {len(expected)} keys of a plain module; remove "
            "parametrizations and pruning first, for example by torch.nn.utils.parametrize.remove_parametrizations"
        )


def _from_table(module: Any, is_linear: bool, parameter: Callable[[HostArray], Array]) -> Linear | Embedding:
    """The Linear or Embedding of a module."""
    if not is_linear and module.max_norm is not None:
        raise ValueError(
            f"module has max_norm={module.max_norm}: expected max_norm=None; no layer of xrnn scales its rows"
        )
    rows = (module.out_features, module.in_features) if is_linear else (module.num_embeddings, module.embedding_dim)
    shapes: dict[str, tuple[int, ...]] = {"weight": rows}
    if is_linear and module.bias is not None:
        shapes["bias"] = rows[:1]
    state = module.state_dict()
    _check_keys(state, list(shapes))
    _check_calls(module)
    W, *b = _values(state, shapes, stacklevel=4)
    if not is_linear:
        return Embedding(parameter(W))
    return Linear(parameter(W.T), parameter(b[0] if b else np.zeros(rows[0], W.dtype)))


def _values(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], stacklevel: int = 3) -> list[HostArray]:
    """PyTorch's weights on the host.   Raises TypeError and ValueError as `from_torch` does.

    stacklevel   of warnings, so that they name the line that calls `from_torch`
    """
    torch = import_torch("xrnn.from_torch")
    values: list[HostArray] = []
    first = state[next(iter(shapes))].dtype
    for name, shape in shapes.items():
        tensor = state[name].detach()
        if type(tensor) is not torch.Tensor:
            raise TypeError(
                f"{name} of module is a {kind_of(tensor)}: expected a plain tensor; assign a torch.nn.Parameter of its "
                "values"
            )
        if tensor.dtype not in (torch.float32, torch.float64) or tensor.dtype != first:
            raise TypeError(
                f"{name} of module has dtype {tensor.dtype}: expected torch.float32 or torch.float64, the same for all "
                "weights; use module.float()"
            )
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} of module has shape {tuple(tensor.shape)}: expected {shape}, by its sizes; make a module of "
                "these sizes, and load the weights into it"
            )
        if tensor.layout is not torch.strided:
            raise ValueError(
                f"{name} of module has the layout {tensor.layout}: expected a dense tensor; use its to_dense()"
            )
        if tensor.is_meta:
            raise ValueError(f"{name} of module is on the device meta: load the weights first")
        values.append(tensor.cpu().resolve_neg().numpy())
        if not np.isfinite(values[-1]).all():
            warnings.warn(f"{name} of module holds NaN or infinity: the layer computes NaN", stacklevel=stacklevel)
    return values


# ---- to PyTorch ----


def to_torch(layer: HasParameters) -> torch.nn.Module:
    """PyTorch's module that computes the same as the layer, with copies of its weights, on the CPU.

    layer   RNN, LSTM, GRU, a Bidirectional, a Stack of layers of one kind and hidden size, Linear, or Embedding; a
            MinGRU, MinLSTM, SLSTM or LRU becomes a module of xrnn.torch

    The module is time-first, and has the Stack's dropout. Its bias_ih is the layer's bias, and its bias_hh is zero,
    except for the candidate gate of a GRU, which has two biases in a layer too. PyTorch's modules have no heads: their
    weight_hh is zero between the heads of a layer, and training the module changes these zeros.

    Raises TypeError for other layers, and for cells that PyTorch does not have, such as an RNN with a leak; ValueError
    for a reverse layer alone, and for layers of several kinds or sizes; ImportError without PyTorch.

    >>> to_torch(LSTM.init(3, 8, rng=0))
    LSTM(3, 8)
    """
    torch = import_torch("xrnn.to_torch")
    if type(layer) is Linear or type(layer) is Embedding:
        return _to_table(torch, layer)
    layers = layer.layers if type(layer) is Stack else [layer]
    rows: list[list[Any]] = [[*layer.layers] if type(layer) is Bidirectional else [layer] for layer in layers]
    mode = _common_mode(rows)
    first = rows[0][0]
    dropouts = {d.p for d in layer.dropout} if type(layer) is Stack else set()
    if len(dropouts) > 1:
        raise ValueError(f"layer has dropouts of {sorted(dropouts)}: expected one for all; set them to the same p")
    state: dict[str, Any] = {}
    for at, row in enumerate(rows):
        for one in row:
            weights = torch_weights.to_torch(np, torch_weights.CELLS[mode], *_copies(one))
            names = torch_weights.parameter_names(one.cell, at, one.reverse)
            state |= {name: torch.from_numpy(weight) for name, weight in zip(names, weights, strict=True)}
    kind, options = torch_weights.MODES[mode]
    sizes = (first.input_size, first.hidden_size, len(rows))
    options = {**options, "bidirectional": len(rows[0]) == 2, "dropout": max(dropouts, default=0.0)}
    if kind is SLSTM:
        options["heads"] = first.heads
    return _module(torch, kind, first.params[0].dtype, sizes, options, state)


def _to_table(torch: Any, layer: Linear | Embedding) -> Any:
    """A torch.nn.Linear or Embedding."""
    W, *b = _copies(layer)
    weights = zip(("weight", "bias"), (W.T if b else W, *b), strict=False)
    return _module(
        torch, type(layer), W.dtype, W.shape, {}, {name: torch.from_numpy(weight) for name, weight in weights}
    )


def _copies(layer: Any) -> list[HostArray]:
    """The parameters on the host, writable."""
    layer._accept_replaced()
    return [np.array(to_numpy(param)) for param in layer.params]


def _module(
    torch: Any, kind: Any, dtype: Any, sizes: tuple[int, ...], options: Mapping[str, Any], state: Mapping[str, Any]
) -> Any:
    """PyTorch's module of this name and dtype; that of xrnn.torch if PyTorch has none."""
    modules = torch.nn if hasattr(torch.nn, kind.__name__) else importlib.import_module("xrnn.torch")
    # On the device meta, PyTorch draws no initial weights, so the state of its generator stays the same.
    module = getattr(modules, kind.__name__)(*sizes, **options, dtype=getattr(torch, dtype.name), device="meta")
    module = module.to_empty(device="cpu")
    module.load_state_dict(state)
    return module


def _common_mode(rows: list[list[Any]]) -> str:
    """PyTorch's `mode` that all these layers have.   rows: for each layer its one or two directions

    Raises TypeError, ValueError for layers that have no common mode.
    """
    first: tuple[str, int, int, int | None] | None = None
    for at, row in enumerate(rows):
        for one in row:
            name = "layer" if len(rows) == 1 else f"layers[{at}]"
            mode = _mode(name, one)
            if len(row) == 1 and one.reverse:
                raise ValueError(
                    f"{name} has reverse=True alone: expected a Bidirectional, or one that runs "
                    "forward; PyTorch has no module that only runs in reverse"
                )
            this = mode, one.hidden_size, len(row), one.heads if type(one) is SLSTM else None
            first = first or this
            if this != first:
                got, of_first = (
                    f"{mode}, {H} units, directions: {ways}{f', heads: {heads}' if heads else ''}"
                    for mode, H, ways, heads in (this, first)
                )
                raise ValueError(
                    f"{name} differs from the first layer ({got}; first {of_first}): expected layers of one kind and "
                    "size, as PyTorch's modules have; convert them one by one"
                )
    assert first is not None  # a layer has at least one part
    return first[0]


def _mode(name: str, one: Any) -> str:
    if not is_layer(one) or one.is_int8:
        got = one.title if is_layer(one) else kind_of(one)
        raise TypeError(
            f"{name} is a {got}: expected RNN, LSTM, GRU, a Bidirectional or a flat Stack of these, Linear or "
            "Embedding; PyTorch has no such module; write the layer to .safetensors"
        )
    for mode, cell in torch_weights.CELLS.items():
        if type(cell) is type(one.cell) and vars(cell) == vars(one.cell):
            return mode
    raise unknown_cell(one, name, "PyTorch", torch_weights.CELLS.values(), "write a module that computes the same")
