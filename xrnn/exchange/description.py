"""Converts layers to descriptions for JSON and back: the kind and options of a layer, without its arrays.

    {"kind": "LSTM", "options": {"reverse": false}}
    {"kind": "Stack", "layers": [{"kind": "LSTM", …}, {"kind": "LSTM", …}], "dropout": []}

A description has no shapes and dtypes, because the arrays have them. It cannot import anything. It can only call the
constructors named here, and the functions in `cells`, which the caller gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from xrnn.cells import CELLS, CONTAINERS, LEAVES
from xrnn.checks import check_integer
from xrnn.files import quoted
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.dropout import Dropout
from xrnn.layers.network import Network
from xrnn.layers.own_cell import Recurrent
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.layers.stack import Stack
from xrnn.layers.store import Int8Store
from xrnn.messages import kind_of
from xrnn.ops.cell import Cell
from xrnn.ops.int8 import Int8Matrix
from xrnn.typing import Array

Description: TypeAlias = dict[str, Any]
MakeCell: TypeAlias = Callable[..., Cell]  # called with the cell's attributes as keyword arguments; often its class

_DEEPEST: Final = 16  # the deepest nesting of layers: bounds the recursion below
_ATTRIBUTES: Final = (bool, int, float, str, type(None))  # the types of a cell's attributes that JSON can hold


class UnknownCellError(ValueError):
    """The description has a cell that `cells` cannot make. The message is one line."""


def _leaves() -> dict[str, Any]:
    """The classes of layers that need only arrays and options, by their name in a description."""
    return {layer.__name__: layer for layer in (*CELLS.values(), *LEAVES)}


def _kinds() -> tuple[str, ...]:
    return (*_leaves(), *(container.__name__ for container in CONTAINERS))


def canonical(description: Description) -> str:
    """The description as text, for comparisons: unlike in Python, `1`, `1.0` and `true` differ."""
    return json.dumps(description, sort_keys=True)


# ---- from a layer ----


def take_apart(layer: Any) -> tuple[Description, dict[str, Array]]:
    """The description of a layer, and its arrays by name: `Wx`, or `0.1.Wx` in nested layers.

    Raises TypeError for another layer than those of xrnn, and for a cell with attributes other than numbers and
    strings; ValueError for layers that are nested too deeply.
    """
    arrays: dict[str, Array] = {}
    return describe(layer, "", arrays, {}), arrays


def describe(
    layer: Any, prefix: str, arrays: dict[str, Array], seen: dict[str, Any], name: str = "layer", depth: int = 0
) -> Description:
    """As `take_apart`. The arrays go to `arrays`, with `prefix` before their names. Errors call the layer `name`.

    seen   the described layers by their prefix. A layer that is among them is described by a reference to it
    """
    if depth > _DEEPEST:
        raise ValueError(f"layers are nested more than {_DEEPEST} deep: join inner Stacks to one")
    same = next((key for key, described in seen.items() if described is layer), None)
    if same is not None:
        return {"same": same}
    seen[prefix] = layer
    is_network = isinstance(layer, Network) and not prefix  # a checkpoint has no Network among its layers
    if type(layer) not in (Stack, Bidirectional) and not is_network:
        return _described_leaf(layer, prefix, arrays, name)
    inner = [
        describe(part, f"{prefix}{i}.", arrays, seen, f"{name}.layers[{i}]", depth + 1)
        for i, part in enumerate(layer.values() if is_network else layer.layers)
    ]
    if is_network:
        return {"kind": "Network", "layers": inner, "names": list(layer)}
    description: Description = {"kind": type(layer).__name__, "layers": inner}
    if type(layer) is Stack:
        description["dropout"] = [_described_leaf(dropout, "", {}, "dropout") for dropout in layer.dropout]
    return description


def _described_leaf(layer: Any, prefix: str, arrays: dict[str, Array], name: str) -> Description:
    kind = type(layer).__name__
    if type(layer) is not _leaves().get(kind):
        several = "several layers use xrnn.save_checkpoint"
        remedy = several if isinstance(layer, dict | list | tuple) else "other equations use Recurrent with a cell"
        raise TypeError(
            f"{name} is a {kind_of(layer)}: expected one of xrnn's own layers, {', '.join(_kinds())}; for {remedy}"
        )
    arrays |= {f"{prefix}{key}": param for key, param in layer.named_params.items()}
    options = {}
    for key, option in layer.options.items():
        if hasattr(option, "shape"):
            arrays[prefix + key] = option
            option = {"array": prefix + key}
        options[key] = option
    description: Description = {"kind": kind, "options": options}
    if getattr(layer, "is_int8", False):
        description["store"] = Int8Store.name
    if kind == "Recurrent":
        description |= {"cell": layer.cell.name, "attributes": _attributes(layer.cell)}
    if kind in ("Recurrent", "Dropout"):
        description["step"] = int(layer.forward_calls)
    return description


def _attributes(cell: Cell) -> dict[str, Any]:
    for name, value in vars(cell).items():
        if type(value) not in _ATTRIBUTES:
            raise TypeError(
                f"the cell {cell.name!r} holds {name}, a {kind_of(value)}: expected numbers and strings, "
                f"which a file can store; use float({name}) for a number, and `params` of the cell for arrays"
            )
    return dict(vars(cell))


# ---- to a layer ----


def put_together(
    description: Description, arrays: Mapping[str, Array], cells: Mapping[str, MakeCell] | None = None
) -> Any:
    """The layer of this description. It uses these arrays without a copy.

    cells   for user-defined cells, by name: the class, or a function that takes the cell's attributes as keyword
            arguments

    Raises UnknownCellError for a cell that `cells` cannot make; TypeError or ValueError for a description that
    `take_apart` would not write: another kind or option, a missing or additional array, or a wrong shape.
    """
    remaining = dict(arrays)
    layer = build(description, "", remaining, cells or {}, {})
    if remaining:
        raise ValueError(f"there is an array {min(remaining)}: expected those of the described layers and no others")
    again, its_arrays = take_apart(layer)
    if canonical(again) != canonical(description) or any(a.dtype != arrays[n].dtype for n, a in its_arrays.items()):
        raise ValueError(f"save would describe this {again['kind']} differently: expected a file that it wrote")
    return layer


def build(
    description: Any,
    prefix: str,
    remaining: dict[str, Array],
    cells: Mapping[str, MakeCell],
    made: dict[str, Any],
    depth: int = 0,
) -> Any:
    """The layer of a description. Removes its arrays, whose names start with `prefix`, from `remaining`.

    made   the layers that have been built, by their prefix

    Raises as `put_together`, except that it accepts descriptions that `describe` would write in another way.
    """
    if depth > _DEEPEST:
        raise ValueError(f"layers are nested more than {_DEEPEST} deep")
    if isinstance(description, dict) and description.keys() == {"same"}:
        same = entry(description, "same", str)
        if same not in made:
            raise ValueError(f"a layer is the same as {quoted(same)}: expected a layer before it")
        return made[same]
    made[prefix] = layer = _built(description, prefix, remaining, cells, made, depth)
    return layer


def _built(
    description: Any,
    prefix: str,
    remaining: dict[str, Array],
    cells: Mapping[str, MakeCell],
    made: dict[str, Any],
    depth: int,
) -> Any:
    kind = entry(description, "kind", str)
    if kind not in _kinds():
        raise ValueError(f"the kind {quoted(kind)} is unknown: expected one of {', '.join(_kinds())}")
    if kind in ("Stack", "Bidirectional", "Network"):
        layers: list[Any] = [
            build(part, f"{prefix}{i}.", remaining, cells, made, depth + 1)
            for i, part in enumerate(entry(description, "layers", list))
        ]
        if kind == "Network":
            return Network(**dict(zip(entry(description, "names", list), layers, strict=True)))
        return _stack(layers, description) if kind == "Stack" else Bidirectional(*layers)
    options: dict[str, Any] = {
        key: pop(remaining, prefix + key) if isinstance(option, dict) else option
        for key, option in entry(description, "options", dict).items()
    }
    cls = _leaves()[kind]
    names = _leaves()[kind].names
    leading = []
    if cls is Recurrent:
        leading = [_cell(description, cells)]
        names = (*names, *leading[0].params)
    elif issubclass(cls, RecurrentLayer):
        names = cls.names_with(options)
    params: list[Any] = [pop(remaining, prefix + name) for name in names]
    if description.get("store") == Int8Store.name:
        scales = [pop(remaining, prefix + name) for name in Int8Store.scales]
        params[:2] = map(Int8Matrix, params, scales)
    layer: Any = cls(*leading, *params, **options)
    if kind in ("Recurrent", "Dropout"):
        layer.forward_calls = check_integer("step", description.get("step"), least=0)
    return layer


def _stack(layers: list[Any], description: Description) -> Stack:
    stack = Stack(layers)
    stack.dropout = [build(dropout, "", {}, {}, {}, _DEEPEST) for dropout in entry(description, "dropout", list)]
    if len(stack.dropout) not in (0, len(layers) - 1) or not all(isinstance(d, Dropout) for d in stack.dropout):
        raise ValueError("dropout does not fit a Stack: expected a Dropout between each two layers, or an empty list")
    return stack


def _cell(description: Description, cells: Mapping[str, MakeCell]) -> Cell:
    name, attributes = entry(description, "cell", str), entry(description, "attributes", dict)
    shown = quoted(name)
    if name not in cells:
        raise UnknownCellError(
            f"holds the cell '{shown}', which xrnn does not have: expected its class; load the file in Python, with "
            f"cells={{'{shown}': …}}"
        )
    if not all(type(value) in _ATTRIBUTES for value in attributes.values()):
        raise ValueError(f"the cell '{shown}' has attributes other than numbers and strings")
    held = quoted(", ".join(f"{key}={value!r}" for key, value in attributes.items()) or "nothing")
    remedy = "use the class of the saved cell, or a function that takes its attributes as keyword arguments"
    try:
        cell = cells[name](**attributes)
    except (TypeError, ValueError) as error:
        raise UnknownCellError(
            f"holds a cell '{shown}' with {held}, but cells= cannot make it ({quoted(str(error))}): {remedy}"
        ) from error
    if not isinstance(cell, Cell) or cell.name != name or vars(cell) != attributes:
        raise UnknownCellError(f"holds a cell '{shown}' with {held}, but cells= makes a different one: {remedy}")
    return cell


def entry(description: Any, name: str, kind: type) -> Any:
    """An entry of a description.   Raises ValueError if it is missing or of another kind."""
    entry = description.get(name) if isinstance(description, dict) else None
    if not isinstance(entry, kind):
        raise ValueError(f"{name} is a {kind_of(entry)} in the description: expected a {kind.__name__}")
    return entry


def pop(remaining: dict[str, Array], name: str) -> Array:
    if name not in remaining:
        raise ValueError(f"there is no array {quoted(name)}: expected those of the described layers")
    return remaining.pop(name)
