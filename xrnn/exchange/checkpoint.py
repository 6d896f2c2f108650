"""Checkpoints: layers, their optimizers and other values of a training loop in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from xrnn.arrays.select import backend_of, get_backend
from xrnn.backend import Backend
from xrnn.checks import check_integer
from xrnn.exchange.description import Description, MakeCell, build, canonical, describe, entry, pop, take_apart
from xrnn.exchange.files import (
    check_cells,
    described_by,
    described_content,
    parse_description,
    read_arrays,
    warn_of_nan,
)
from xrnn.files import ArrayFile, format_in, open_arrays, quoted, write_own
from xrnn.groups import HasParameters
from xrnn.layers.composite import Composite
from xrnn.layers.network import Network
from xrnn.messages import cast_hint, kind_of
from xrnn.optim import EMA, SGD, Adam, Optimizer
from xrnn.sharing import refuse_shared
from xrnn.typing import Array, HostArray

AnyOptimizer: TypeAlias = Optimizer | EMA

_WANTED: Final = "a checkpoint; name a file that xrnn.save_checkpoint wrote"
_FORMAT: Final = "xrnn checkpoint"
_LONGEST: Final = 2**24  # characters of a description
_DEEPEST: Final = 32  # lists and dicts within each other in `extra`
_DTYPES: Final = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")
_OPTIMIZERS: Final[dict[str, Any]] = {cls.__name__: cls for cls in (SGD, Adam, EMA)}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint.

    layers      by name. For a network of your own class, `Tagger(**checkpoint.layers)`
    optimizer   an optimizer, a dict of them, or None, as it was saved; they update the layers above
    extra       the other values, by name
    """

    layers: Network
    optimizer: Any
    extra: dict[str, Any]


def save_checkpoint(
    path: str | os.PathLike[str],
    layers: Mapping[str, HasParameters],
    *,
    optimizer: AnyOptimizer | Mapping[str, AnyOptimizer] | None = None,
    extra: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write layers, optimizers and other values to one file, which `load_checkpoint` reads.

    layers      a dict by name, or a Network; of the kinds that `save` takes
    optimizer   SGD, Adam or EMA, of some or all of these layers and of the layers inside them; or a dict of them by
                name. The file keeps the parameter groups
    extra       values by name: None, bool, int, float, str, arrays, and lists, tuples and dicts of them, such as the
                number of the epoch, `rng.bit_generator.state` of a NumPy Generator, and the states of a stream
    overwrite   replace any file at `path`. By default, only an empty file or one that `save_checkpoint` wrote is
                replaced, but not the checkpoint of a command or an estimator

    An earlier file at `path` is replaced in one step: a reader finds the old file or the new one.

    A layer that the checkpoint holds twice, such as alone and in a Stack, is saved once, and is one layer again after
    loading.

    Raises TypeError for other kinds of layers, optimizers or values; ValueError if two layers share memory, if an
    optimizer has a layer that is not in `layers` or has accumulated gradients, or if the description is too long;
    FileExistsError for a file that it may not replace, and OSError if the file can't be written. After any of these
    errors, the earlier file is unchanged.

    >>> linear = Linear.init(3, 1, rng=0)
    >>> save_checkpoint("run.safetensors", {"readout": linear}, optimizer=Adam([linear]), extra={"epoch": 6})
    """
    content = checkpoint_content(layers, optimizer, extra)
    job = (extra or {}).get("job")
    write_own(path, content, "xrnn.save_checkpoint", lambda file: _has_mark(file, job), overwrite=overwrite)


def checkpoint_content(layers: Mapping[str, Any], optimizer: Any, extra: Mapping[str, Any] | None) -> bytes:
    """The content of the file that `save_checkpoint` writes.   Raises as `save_checkpoint`."""
    if not isinstance(layers, Mapping) or not all(isinstance(name, str) for name in layers):
        raise TypeError(f"layers is a {kind_of(layers)}: expected a dict of layers by name, as {{'rnn': rnn}}")
    arrays: dict[str, Array] = {}
    description = describe_all(layers, optimizer, arrays)
    Network(**layers)  # refuses names that `load_checkpoint` would refuse
    if not isinstance(extra, Mapping | None):
        raise TypeError(f"extra is a {kind_of(extra)}: expected a dict of values by name, as {{'epoch': 6}}")
    description["extra"] = encoded({} if extra is None else extra, "extra", arrays, 0)
    return described_content("checkpoint", json.dumps(description), arrays, _LONGEST, "put long lists into arrays")


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    cells: Mapping[str, MakeCell] | None = None,
    backend: str | Backend | None = None,
) -> Checkpoint:
    """The content of a file that `save_checkpoint` wrote.

    cells     the classes of your own cells by name, as for `load`
    backend   where to put layers and optimizers; None for the selected backend

    An array in `extra` is a NumPy array if it was one when it was saved; otherwise it is put on `backend` too. Nothing
    in the file is executed or imported. Warns if a parameter holds NaN or infinity.

    Raises ValueError if the file can't be read, is damaged or of another kind, or holds anything that `save_checkpoint`
    does not write, and if `cells` can't make one of its cells; TypeError if `cells` is not a dict.

    >>> save_checkpoint("run.safetensors", {"readout": Linear.init(3, 1, rng=0)}, extra={"epoch": 6})
    >>> checkpoint = load_checkpoint("run.safetensors")
    >>> checkpoint.layers["readout"], checkpoint.extra["epoch"]
    (Linear(3 → 1, 4 parameters, float32, numpy), 6)
    """
    check_cells(cells)
    target = get_backend(backend)
    with open_arrays(Path(path), _WANTED) as file:
        checkpoint = read_checkpoint(file, target, cells)
    for name, layer in checkpoint.layers.items():
        warn_of_nan(file.name, {f"layers.{name}.{key}": p for key, p in take_apart(layer)[1].items()})
    return checkpoint


def read_checkpoint(file: ArrayFile, target: Backend, cells: Mapping[str, MakeCell] | None = None) -> Checkpoint:
    """The checkpoint in an open file.   Raises FileError."""
    arrays = read_arrays(file, "checkpoint", *_DTYPES)
    with described_by(file, "checkpoint"):
        return make_checkpoint(parse_description(file, "checkpoint", _LONGEST), arrays, target, cells)


def peek(file: ArrayFile, name: str) -> Any:
    """A value of `extra`, without reading the arrays; None if the file has none."""
    try:
        return parse_description(file, "checkpoint", _LONGEST)["extra"]["dict"].get(name)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _has_mark(path: Path, job: Any) -> bool:
    """Whether `save_checkpoint` wrote the file at `path`, with no `job` of a command or an estimator but this one."""
    if format_in(path) != _FORMAT:
        return False
    with open_arrays(path, "") as file:
        found = peek(file, "job")
    return not str(found).startswith("xrnn ") or (isinstance(job, str) and found == job)


# ---- layers and optimizers ----


def describe_all(layers: Mapping[str, Any], optimizer: Any, arrays: dict[str, Array]) -> Description:
    """The description of layers and optimizers. Adds their arrays to `arrays`."""
    names = list(layers)
    seen = dict[str, Any]()
    described = [
        [name, describe(layer, f"layers.{i}.", arrays, seen)] for i, (name, layer) in enumerate(layers.items())
    ]
    leaves = {}
    for prefix, layer in seen.items():
        if not isinstance(layer, Composite):
            _, i, *inner, _ = prefix.split(".")
            leaves[".".join([names[int(i)], *inner])] = layer
    refuse_shared(
        leaves,
        "which a file would hold twice",
        "save one of the two layers, and make the other from its arrays after loading",
    )
    several = optimizer if isinstance(optimizer, Mapping) else {} if optimizer is None else {"": optimizer}
    optimizers = [
        [name, _describe_optimizer(name, value, layers, f"optimizer.{i}.", arrays)]
        for i, (name, value) in enumerate(several.items())
    ]
    return {"layers": described, "optimizers": optimizers, "several": isinstance(optimizer, Mapping)}


def _describe_optimizer(
    name: str, optimizer: Any, layers: Mapping[str, Any], prefix: str, arrays: dict[str, Array]
) -> Description:
    shown = f"optimizer[{name!r}]" if name else "optimizer"
    kind = type(optimizer).__name__
    if type(optimizer) is not _OPTIMIZERS.get(kind) or not isinstance(name, str):
        raise TypeError(
            f"{shown} is a {kind_of(optimizer)}: expected {', '.join(_OPTIMIZERS)}, or a dict of them by name; for "
            "another kind, put its arrays into extra"
        )
    known = {id(layer): place for place, layer in _places(layers)}
    for layer in optimizer.layers:
        if id(layer) not in known:
            raise ValueError(f"{shown} updates a {kind_of(layer)} that is not in layers: add this one")
    if getattr(optimizer, "accumulated", False):
        raise ValueError(f"{shown} has accumulated gradients, which are not saved: call step() first")
    _make_optimizer(kind, [], optimizer.options)  # refuses attributes that the constructor would refuse
    state = optimizer.state
    count = check_integer("count", int(state.pop("count")), least=0)
    for moment, values in state.items():
        arrays |= {f"{prefix}{moment}.{k}": value for k, value in enumerate(values)}

    def places(layers: list[Any]) -> list[Any]:
        return [known[id(layer)] for layer in layers]

    groups = getattr(optimizer, "groups", [])  # EMA has none
    description = {"kind": kind, "layers": places(optimizer.layers), "options": optimizer.options, "count": count}
    if len(groups) <= 1 and all(group.is_default for group in groups):
        return description
    described = [
        {
            "layers": places(group.layers),
            "params": None if group.names is None else list(group.names),
            "scale": group.scale,
            "weight_decay": group.weight_decay,
        }
        for group in groups
    ]
    return description | {"layers": [], "groups": described}


def _places(layers: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """All layers with their places: the name of a layer, or [name, index, …] of one inside a Stack."""
    for name, layer in layers.items():
        yield name, layer
        yield from _inner_places([name], layer)


def _inner_places(path: list[Any], layer: Any) -> Iterator[tuple[Any, Any]]:
    for i, part in enumerate(layer.layers if isinstance(layer, Composite) else []):
        yield [*path, i], part
        yield from _inner_places([*path, i], part)


def make_checkpoint(
    description: Description,
    arrays: Mapping[str, HostArray],
    target: Backend,
    cells: Mapping[str, MakeCell] | None = None,
) -> Checkpoint:
    """Make the described checkpoint.   Raises TypeError, ValueError unless `save_checkpoint` would write this."""
    left: dict[str, Any] = {
        name: target.parameter(array) if name.startswith("layers.") else array for name, array in arrays.items()
    }
    made: dict[str, Any] = {}
    layers: dict[str, Any] = {
        name: build(value, f"layers.{i}.", left, cells or {}, made)
        for i, (name, value) in enumerate(_pairs(description, "layers"))
    }
    optimizers: dict[str, Any] = {
        name: _restored(value, layers, f"optimizer.{i}.", left)
        for i, (name, value) in enumerate(_pairs(description, "optimizers"))
    }
    optimizer: Any = optimizers if description.get("several") else optimizers.get("")
    extra = _decoded(description.pop("extra", None), left, target, 0)
    if not isinstance(extra, dict):
        raise ValueError(f"extra is a {kind_of(extra)}: expected a dict")
    if left:
        raise ValueError(f"there is an array {quoted(min(left))}: expected only those that the description names")
    again: dict[str, Array] = {}
    if canonical(describe_all(layers, optimizer, again)) != canonical(description):
        raise ValueError("save_checkpoint writes a different description of this content: expected its own file")
    if any(array.dtype != arrays[name].dtype or array.shape != arrays[name].shape for name, array in again.items()):
        raise ValueError("an array has another dtype or shape than save_checkpoint would write")
    return Checkpoint(Network(**layers), optimizer, extra)


def _restored(description: Any, layers: dict[str, Any], prefix: str, left: dict[str, Any]) -> Any:
    """The optimizer of a description. Removes its arrays from `left`."""
    kind, places = entry(description, "kind", str), entry(description, "layers", list)
    if kind not in _OPTIMIZERS:
        raise ValueError(f"the kind of an optimizer is {quoted(kind)}: expected one of {', '.join(_OPTIMIZERS)}")
    by_place = {json.dumps(place): layer for place, layer in _places(layers)}

    def found(places: list[Any]) -> list[Any]:
        texts = [json.dumps(place) for place in places]
        if not all(text in by_place for text in texts):
            raise ValueError("an optimizer has layers that the file lacks: expected places of layers in the file")
        return [by_place[text] for text in texts]

    options = entry(description, "options", dict)
    if "groups" in description:
        groups = entry(description, "groups", list)
        named = [{"layers": found(entry(group, "layers", list)), "params": group.get("params")} for group in groups]
        optimizer = _make_optimizer(kind, named, options)
        for made, group in zip(optimizer.groups, groups, strict=True):
            made.scale, made.weight_decay = group.get("scale"), group.get("weight_decay")
    else:
        optimizer = _make_optimizer(kind, found(places), options)
    state = optimizer.state
    state.pop("count")[...] = check_integer("count", description.get("count"), least=0)
    for moment, values in state.items():
        for k, value in enumerate(values):
            _restore(value, pop(left, f"{prefix}{moment}.{k}"))
    return optimizer


def _make_optimizer(kind: str, layers: list[Any], options: Description) -> Any:
    """An optimizer whose learning rate may be 0, unlike in its constructor, because a schedule may have ended at 0."""
    if "lr" not in options:
        return _OPTIMIZERS[kind](layers, **options)
    optimizer = _OPTIMIZERS[kind](layers, **options | {"lr": 1.0})
    optimizer.lr = options["lr"]
    return optimizer


def _restore(value: Array, saved: HostArray) -> None:
    if (saved.shape, saved.dtype) != (value.shape, value.dtype):
        raise ValueError(f"an array of an optimizer does not fit: expected {value.dtype} {value.shape}")
    backend = backend_of(value)
    with backend.device_of(value):
        value[...] = backend.asarray(saved)


def _pairs(description: Description, key: str) -> list[tuple[str, Any]]:
    """The pairs of a name and a description in `description[key]`."""
    pairs = description.get(key)
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise ValueError(f"{key} is not a list of names and descriptions")
    return [(name, value) for name, value in pairs]


# ---- other values, as JSON. A dict is {"dict": …}, a tuple {"tuple": …}, an array {"array": name, "host": …} ----


def encoded(value: Any, name: str, arrays: dict[str, Array], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"{name[:80]} is nested more than {_DEEPEST} deep: flatten extra")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{name} has the key {key!r}: expected strings; use str({key!r})")
        return {"dict": {key: encoded(v, f"{name}[{key!r}]", arrays, depth + 1) for key, v in value.items()}}
    if isinstance(value, list | tuple):
        items = [encoded(v, f"{name}[{i}]", arrays, depth + 1) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"{name} is a {kind_of(value)}: expected JSON values and arrays; convert it to them")
    backend_of(value, name)
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8 or not value.dtype.isnative:
        raise TypeError(
            f"{name} has dtype {value.dtype}: expected numbers or bools; {cast_hint(name, value, 'float64')}"
        )
    place = f"extra.{sum(key.startswith('extra.') for key in arrays)}"
    arrays[place] = value
    return {"array": place, "host": type(value) is np.ndarray}


def _decoded(value: Any, left: dict[str, HostArray], target: Backend, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"extra is nested more than {_DEEPEST} deep")
    if isinstance(value, list):
        return [_decoded(v, left, target, depth + 1) for v in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"dict": dict(items)} if len(value) == 1:
            return {key: _decoded(v, left, target, depth + 1) for key, v in items.items()}
        case {"tuple": list(items)} if len(value) == 1:
            return tuple(_decoded(v, left, target, depth + 1) for v in items)
        case {"array": str(name), "host": bool(host)} if len(value) == 2 and name in left:
            array = left.pop(name)
            return array if host else target.asarray(array)
    raise ValueError("extra holds an unknown object: expected a dict, a tuple or an array")
