"""A model to write in another format: a chain of layers, and the operations without weights around them."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from xrnn.arrays.convert import check_numbers, to_numpy
from xrnn.cells import CELLS, is_layer
from xrnn.checks import check_bool, check_integer
from xrnn.exchange.checkpoint import Checkpoint
from xrnn.groups import HasParameters, Layers
from xrnn.layers.base import like_states
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.dropout import Dropout
from xrnn.layers.embedding import Embedding
from xrnn.layers.layer_norm import LayerNorm
from xrnn.layers.linear import Linear
from xrnn.layers.stack import Stack
from xrnn.messages import is_torch_network, kind_of
from xrnn.ops.cell import Cell
from xrnn.typing import HostArray

_OTHERS: Final = (Bidirectional, LayerNorm, Linear, Embedding)

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """y = softmax(layers(scale(x))).

    layers    in order, without Stacks; only the first may be an Embedding
    scale     (mean, deviation), (D,) float64 each: x becomes (x - mean) / deviation, limited to ±1e6
    mean      the mean over time follows the last recurrent layer
    last      number of last steps that an output is computed from; 0: all steps
    changes   features of x that are unknown in the first of these steps: changes since the step before it
    softmax   the result is softmax(y)
    labels    the names of the outputs, if they have any
    """

    layers: tuple[Any, ...]
    scale: tuple[HostArray, HostArray] | None = None
    mean: bool = False
    last: int = 0
    changes: range = range(0)
    softmax: bool = False
    labels: tuple[str, ...] = ()

    @property
    def last_recurrent(self) -> int:
        """The position of the last recurrent layer; -1 if there is none."""
        return max((i for i, layer in enumerate(self.layers) if is_recurrent(layer)), default=-1)


# Layers that run one after the other.
ExportedLayers: TypeAlias = HasParameters | Layers | Checkpoint | Model


def model_of(
    layers: ExportedLayers,
    *,
    scale: tuple[Any, Any] | None = None,
    mean: bool = False,
    last: int = 0,
    softmax: bool = False,
    quantized: bool = False,
) -> Model:
    """The model of a layer, of a list or dict of layers in their order, or of a `Checkpoint`.

    quantized   whether the format can hold quantized layers

    Raises TypeError for other kinds, ValueError if a layer does not fit the one before it.
    """
    model = layers if isinstance(layers, Model) else _model_of(layers, scale, mean, last, softmax)
    for i, layer in enumerate(model.layers):
        if is_int8(layer) and not quantized:
            raise TypeError(
                f"layers[{i}] is a {layer.title}, which this format cannot hold: expected float32 or float64 layers; "
                "write it to .safetensors or .c, or take the layer that it was made from"
            )
    return model


def named_leaves(layers: ExportedLayers) -> list[tuple[str, Any]]:
    """The layers in their order, without Stacks and Dropout, with names for errors."""
    if isinstance(layers, Checkpoint | Model):
        layers = layers.layers
    given = layers.values() if isinstance(layers, Mapping) else layers if isinstance(layers, Sequence) else [layers]
    return [pair for i, layer in enumerate(given) for pair in _leaves(layer, f"layers[{i}]")]


def _model_of(layers: Any, scale: tuple[Any, Any] | None, mean: bool, last: int, softmax: bool) -> Model:
    if isinstance(layers, str | os.PathLike):
        raise TypeError("layers is a path: use xrnn.load, xrnn.load_checkpoint or `xrnn convert`")
    if isinstance(layers, Checkpoint) and str(layers.extra.get("job")).startswith("xrnn "):  # of an estimator
        raise ValueError("layers is a checkpoint of a model of series, which needs its scale: use `xrnn convert`")
    named = named_leaves(layers)
    if not named:
        raise ValueError("layers is empty: expected at least one layer")
    for i, (name, layer) in enumerate(named):
        if not is_layer(layer) and type(layer) not in _OTHERS:
            if is_torch_network(layer):
                raise TypeError(
                    f"{name} is a {kind_of(layer)}: expected layers of xrnn in their order, such as "
                    "[xrnn.from_torch(net.gru), xrnn.from_torch(net.out)]; or export the complete network by "
                    "torch.onnx.export"
                )
            kinds = ", ".join(kind.__name__ for kind in (*CELLS.values(), *_OTHERS))
            raise TypeError(
                f"{name} is a {kind_of(layer)}: expected {kinds} or a Stack of them; other formats have no such "
                "operation; use xrnn.save to keep the layer"
            )
        if i and (type(layer) is Embedding or layer.input_size != named[i - 1][1].output_size):
            got = "is an Embedding" if type(layer) is Embedding else f"takes {layer.input_size} features"
            raise ValueError(
                f"{name} {got}, but the layer before it gives {named[i - 1][1].output_size} features: expected layers "
                "in the order in which they run, each with the size of the one before"
            )
        if like_states(layer).dtype != like_states(named[0][1]).dtype:
            raise ValueError(f"{name} has another dtype than the first layer: expected one dtype; make them alike")
    if scale is not None:
        scale = _scale(scale, named[0][1])
    mean, softmax = check_bool("mean", mean), check_bool("softmax", softmax)
    last = check_integer("last", last, least=0)
    model = Model(tuple(layer for _, layer in named), scale, mean=mean, last=last, softmax=softmax)
    if last and model.last_recurrent < 0:
        raise ValueError("got last= without a recurrent layer, whose steps do not depend on each other; leave last out")
    if mean and model.last_recurrent < 0:
        raise ValueError(
            "got mean=True without a recurrent layer: expected one, because its h is averaged; leave mean out"
        )
    return model


def _scale(scale: tuple[Any, Any], first: Any) -> tuple[HostArray, HostArray]:
    if not isinstance(scale, tuple | list) or len(scale) != 2:
        raise TypeError(f"scale is a {kind_of(scale)}: expected a pair, (mean, deviation) of each feature of x")
    parts = [host(part) for part in scale]
    for i, part in enumerate(parts):
        check_numbers(f"scale[{i}]", part)
    mean, deviation = (part.astype(np.float64) for part in parts)
    if not mean.shape == deviation.shape == (first.input_size,) or type(first) is Embedding:
        raise ValueError(
            f"scale has shapes {mean.shape} and {deviation.shape}: expected ({first.input_size},) each, one number for "
            "each feature of x"
        )
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
        raise ValueError(
            "scale has numbers that are not finite, or a deviation of 0: expected finite means and positive "
            "deviations; use 1 for a feature that does not vary"
        )
    return mean, deviation


def _leaves(layer: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The layers in nested Stacks, with names for errors. Dropout has no effect in inference and is left out."""
    if type(layer) is Stack:
        for i, part in enumerate(layer.layers):
            yield from _leaves(part, f"{name}.layers[{i}]")
    elif type(layer) is Bidirectional and not all(map(is_layer, layer.layers)):
        yield name, next(part for part in layer.layers if not is_layer(part))
    elif type(layer) is not Dropout:
        for part in getattr(layer, "layers", [layer]):
            if hasattr(part, "_accept_replaced"):
                part._accept_replaced()
        yield name, layer


def is_recurrent(layer: Any) -> bool:
    return is_layer(layer) or type(layer) is Bidirectional


def is_int8(layer: Any) -> bool:
    """Whether this is a quantized layer, or a Bidirectional with one."""
    return any(getattr(part, "is_int8", False) for part in getattr(layer, "layers", [layer]))


def cell_row(table: Mapping[type[Cell], Row], layer: Any, name: str, format: str, place: str) -> Row:
    """What a format knows about the cell of a recurrent layer.   Raises TypeError for a cell that is not in its table.

    name, format, place   of the layer, the format and the table, for the error
    """
    if type(layer.cell) not in table:
        raise unknown_cell(layer, name, format, table, f"for a cell of your own, add a row to {place}")
    return table[type(layer.cell)]


def unknown_cell(layer: Any, name: str, format: str, known: Iterable[Any], remedy: str) -> TypeError:
    """The error for a layer whose cell a format does not have.   known: the cells that it has"""
    known = [*known]
    names = ", ".join(dict.fromkeys(cell.name for cell in known))
    if any(type(cell) is type(layer.cell) for cell in known):  # it has the cell with other options
        options = ", ".join(f"{option}={value!r}" for option, value in vars(layer.cell).items())
        return TypeError(
            f"{name} is a {layer.title} with {options}, which {format} does not have; write it to .safetensors, or "
            f"{remedy}"
        )
    return TypeError(
        f"{name} is a {layer.title} with the cell {layer.cell.name!r}, which {format} does not have: expected one of "
        f"{names}; write it to .safetensors, or {remedy}"
    )


def warn_of_nan(model: Model) -> None:
    for i, layer in enumerate(model.layers):
        for name, param in layer.named_params.items():
            if not np.isfinite(host(param)).all():
                warnings.warn(f"{name} of layers[{i}] holds NaN or infinity: the model computes NaN", stacklevel=3)


def host(value: Any) -> HostArray:
    """A number or an array of any backend, on the host."""
    return np.asarray(to_numpy(value) if hasattr(value, "shape") else value)


def unflattened(layers: Sequence[Any]) -> Any:
    """One layer, or a list of layers, in which neighbouring recurrent layers became a Stack."""
    groups = [(key, list(group)) for key, group in itertools.groupby(layers, is_recurrent)]
    made = [part for key, group in groups for part in ([Stack(group)] if key and len(group) > 1 else group)]
    return made[0] if len(made) == 1 else made
