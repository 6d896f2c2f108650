"""Checkpoints: layers, their optimizers and other values of a training loop in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_integer
from xrnn.files import FileError, open_arrays, parse_object, quoted, write_arrays
from xrnn.interop.description import Description, MakeCell, UnknownCellError, canonical, put_together, take_apart
from xrnn.interop.files import check_cells, warn_of_nan
from xrnn.optim import EMA, SGD, Adam
from xrnn.select import backend_of, get_backend, kind_of, to_numpy
from xrnn.sharing import refuse_shared
from xrnn.typing import Array, HostArray

_FORMAT: Final = "xrnn checkpoint"
_VERSION: Final = "1"
_WANTED: Final = "a checkpoint; name a file that xrnn.save_checkpoint wrote"
_LONGEST: Final = 2**24  # characters of a description
_DEEPEST: Final = 32  # lists and dicts within each other in `extra`
_DTYPES: Final = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")
_OPTIMIZERS: Final[dict[str, Any]] = {cls.__name__: cls for cls in (SGD, Adam, EMA)}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint.

    layers      by name
    optimizer   an optimizer, a dict of them, or None, as it was saved; they update the layers above
    extra       the other values, by name
    """

    layers: dict[str, Any]
    optimizer: Any
    extra: dict[str, Any]


def save_checkpoint(
    path: str | os.PathLike[str],
    layers: Mapping[str, Any],
    *,
    optimizer: Any = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write layers, optimizers and other values to one file, which `load_checkpoint` reads.

    layers      by name, of the kinds that `save` takes
    optimizer   SGD, Adam or EMA, of some or all of these layers; or a dict of them by name
    extra       values by name: None, bool, int, float, str, arrays, and lists, tuples and dicts of them, such as the
                number of the epoch, `rng.bit_generator.state` of a NumPy Generator, and the states of a stream

    An earlier file at `path` is replaced in one step: a reader finds the old file or the new one.

    Raises TypeError for other kinds of layers, optimizers or values; ValueError if layers share arrays, if an optimizer
    has a layer that is not in `layers` or has accumulated gradients, or if the description is too long; OSError if the
    file can't be written. After any of these errors, the earlier file is unchanged.
    """
    if not isinstance(layers, Mapping) or not layers or not all(isinstance(name, str) for name in layers):
        raise TypeError(f"layers is a {kind_of(layers)}: expected a dict of layers by name, as {{'rnn': rnn}}")
    arrays: dict[str, Array] = {}
    description = _described(dict(layers), optimizer, arrays)
    if not isinstance(extra, Mapping | None):
        raise TypeError(f"extra is a {kind_of(extra)}: expected a dict of values by name, as {{'epoch': 6}}")
    description["extra"] = _encoded({} if extra is None else extra, "extra", arrays, 0)
    text = json.dumps(description)
    if len(text) > _LONGEST:
        raise ValueError(
            f"the description has {len(text):,} characters: expected at most {_LONGEST:,}; put long lists into arrays"
        )
    on_host = {name: to_numpy(array) for name, array in arrays.items()}
    write_arrays(Path(path), on_host, {"format": _FORMAT, "version": _VERSION, "checkpoint": text})


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
    """
    check_cells(cells)
    target = get_backend(backend)
    with open_arrays(Path(path), _WANTED) as file:
        file.check_format(_FORMAT, _VERSION)
        file.check_dtypes(*_DTYPES)
        text = file.metadata.get("checkpoint", "")
        arrays = file.read()
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"{len(text):,} characters: expected at most {_LONGEST:,}")
        checkpoint = _made(parse_object(text), arrays, cells, target)
    except UnknownCellError as error:
        raise FileError(f"{file.name} {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise FileError(
            f"{file.name} describes no checkpoint that fits its arrays ({quoted(str(error))}): expected {_WANTED}"
        ) from error
    warn_of_nan(file.name, {name: array for name, array in arrays.items() if name.startswith("layers.")})
    return checkpoint


# ---- layers and optimizers ----


def _described(layers: dict[str, Any], optimizer: Any, arrays: dict[str, Array]) -> Description:
    """The description of layers and optimizers. Adds their arrays to `arrays`."""
    described = []
    for i, (name, layer) in enumerate(layers.items()):
        description, its_arrays = take_apart(layer)
        described.append([name, description])
        arrays |= {f"layers.{i}.{key}": array for key, array in its_arrays.items()}
    refuse_shared(
        layers,
        "which a file would hold twice: save one of the two layers, and make the other from its arrays after loading",
    )
    several = optimizer if isinstance(optimizer, Mapping) else {} if optimizer is None else {"": optimizer}
    optimizers = [
        [name, _described_optimizer(name, each, layers, f"optimizer.{i}.", arrays)]
        for i, (name, each) in enumerate(several.items())
    ]
    return {"layers": described, "optimizers": optimizers, "several": isinstance(optimizer, Mapping)}


def _described_optimizer(
    name: str, optimizer: Any, layers: dict[str, Any], prefix: str, arrays: dict[str, Array]
) -> Description:
    shown = f"optimizer[{name!r}]" if name else "optimizer"
    kind = type(optimizer).__name__
    if type(optimizer) is not _OPTIMIZERS.get(kind) or not isinstance(name, str):
        raise TypeError(
            f"{shown} is a {kind_of(optimizer)}: expected {', '.join(_OPTIMIZERS)}, or a dict of them by name; for "
            "another kind, put its arrays into extra"
        )
    by_id = {id(layer): name for name, layer in layers.items()}
    for layer in optimizer.layers:
        if id(layer) not in by_id:
            raise ValueError(
                f"{shown} updates a {kind_of(layer)} that is not in layers: expected all its layers; add this one"
            )
    if getattr(optimizer, "accumulated", False):
        raise ValueError(f"{shown} has accumulated gradients, which are not saved: call step() first")
    state = optimizer.state
    count = int(state.pop("count"))
    for moment, values in state.items():
        arrays |= {f"{prefix}{moment}.{k}": value for k, value in enumerate(values)}
    names = [by_id[id(layer)] for layer in optimizer.layers]
    return {"kind": kind, "layers": names, "options": optimizer.options, "count": count}


def _made(
    description: Description, arrays: dict[str, HostArray], cells: Mapping[str, MakeCell] | None, target: Backend
) -> Checkpoint:
    """Make the described checkpoint.   Raises TypeError, ValueError unless `save_checkpoint` would write this."""
    left = dict(arrays)
    layers: dict[str, Any] = {}
    for i, (name, of_layer) in enumerate(_pairs(description, "layers")):
        own = _taken(left, f"layers.{i}.")
        layers[name] = put_together(of_layer, {key: target.asarray(array) for key, array in own.items()}, cells)
    optimizers: dict[str, Any] = {}
    for i, (name, of_optimizer) in enumerate(_pairs(description, "optimizers")):
        optimizers[name] = _made_optimizer(of_optimizer, layers, _taken(left, f"optimizer.{i}."))
    optimizer: Any = optimizers if description.get("several") else optimizers.get("")
    extra = _decoded(description.pop("extra", None), left, target, 0)
    if not isinstance(extra, dict):
        raise ValueError(f"extra is a {kind_of(extra)}: expected a dict")
    if left:
        raise ValueError(f"there is an array {quoted(min(left))}: expected only those that the description names")
    again: dict[str, Array] = {}
    if canonical(_described(layers, optimizer, again)) != canonical(description):
        raise ValueError("save_checkpoint writes a different description of this content: expected that one")
    if any(array.dtype != arrays[name].dtype or array.shape != arrays[name].shape for name, array in again.items()):
        raise ValueError("an array has another dtype or shape than save_checkpoint would write")
    return Checkpoint(layers, optimizer, extra)


def _made_optimizer(description: Any, layers: dict[str, Any], arrays: dict[str, HostArray]) -> Any:
    if not isinstance(description, dict) or description.get("kind") not in _OPTIMIZERS:
        raise ValueError(f"the kind of an optimizer is unknown: expected one of {', '.join(_OPTIMIZERS)}")
    options, names = dict(description.get("options", ())), description.get("layers")
    if not isinstance(names, list) or not all(isinstance(name, str) and name in layers for name in names):
        raise ValueError("an optimizer has layers that the file lacks: expected names of layers in the file")
    lr = options.get("lr")
    if "lr" in options:
        options["lr"] = 1.0  # a schedule may have ended at 0, which the constructor refuses
    optimizer = _OPTIMIZERS[description["kind"]]([layers[name] for name in names], **options)
    if "lr" in options:
        optimizer.lr = lr
    state = optimizer.state
    state.pop("count")[...] = check_integer("count", description.get("count"), least=0)
    for moment, values in state.items():
        for k, value in enumerate(values):
            _restore(value, arrays.pop(f"{moment}.{k}", None))
    if arrays:
        raise ValueError(
            f"there is an array {quoted(min(arrays))} of an optimizer: expected only those of its parameters"
        )
    return optimizer


def _restore(value: Array, saved: HostArray | None) -> None:
    if saved is None or (saved.shape, saved.dtype) != (value.shape, value.dtype):
        raise ValueError(f"an array of an optimizer is missing or does not fit: expected {value.dtype} {value.shape}")
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
    return [(name, each) for name, each in pairs]


def _taken(left: dict[str, HostArray], prefix: str) -> dict[str, HostArray]:
    """Remove from `left` the arrays whose names start with `prefix` → these arrays, with names without the prefix."""
    return {name[len(prefix) :]: left.pop(name) for name in [name for name in left if name.startswith(prefix)]}


# ---- other values, as JSON. A dict is {"dict": …}, a tuple {"tuple": …}, an array {"array": name, "host": …} ----


def _encoded(value: Any, name: str, arrays: dict[str, Array], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(
            f"{name[:80]} is nested more than {_DEEPEST} deep: expected fewer lists and dicts; flatten extra"
        )
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{name} has the key {key!r}: expected strings; use str({key!r})")
        return {"dict": {key: _encoded(v, f"{name}[{key!r}]", arrays, depth + 1) for key, v in value.items()}}
    if isinstance(value, list | tuple):
        items = [_encoded(v, f"{name}[{i}]", arrays, depth + 1) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"{name} is a {kind_of(value)}: expected JSON values and arrays; convert it to them")
    backend_of(value, name)
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8 or not value.dtype.isnative:
        raise TypeError(f"{name} has dtype {value.dtype}: expected numbers or bools; use {name}.astype('float64')")
    place = f"extra.{sum(key.startswith('extra.') for key in arrays)}"
    arrays[place] = value
    return {"array": place, "host": isinstance(value, np.ndarray)}


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
