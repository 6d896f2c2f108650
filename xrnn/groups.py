"""The layers of an optimizer, or of an average of weights: lists, dicts, and groups with settings of their own."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, Required, TypeAlias, TypedDict, TypeGuard, TypeVar

from xrnn.checks import check_number, is_read_only
from xrnn.messages import kind_of
from xrnn.sharing import FixedList, users_of
from xrnn.typing import Array

V = TypeVar("V")


def checked(name: str, check: Callable[[str, Any], V]) -> V:
    """An attribute that is checked at each assignment, so that a schedule can't set NaN either.

    check   (name, value) → the value to hold; raises TypeError and ValueError
    """

    def hold(holder: object, value: Any) -> None:
        vars(holder)[name] = check(name, value)

    return property(lambda holder: vars(holder)[name], hold)  # type: ignore[return-value]


def finite(name: str, value: Any) -> float:
    return check_number(name, value, "a finite number of at least 0", lambda number: 0 <= number < math.inf)


def _optional(name: str, value: Any) -> float | None:
    return None if value is None else finite(name, value)


class HasParameters(Protocol):
    """A layer, as an optimizer sees it."""

    @property
    def params(self) -> list[Array]: ...
    @property
    def grads(self) -> list[Array]: ...


class ParameterGroup(TypedDict, total=False):
    """Layers with a learning rate or a weight decay of their own, in the list of layers of an optimizer.

    layers        a list of layers
    params        only the parameters with these names of `layer.named_params`, or with names that end in them: "Wh"
                  stands for all Wh in a Stack. A second group with the same layers may have the other parameters
    lr            the learning rate; without this entry, that of the optimizer
    weight_decay  without this entry, that of the optimizer
    """

    layers: Required[Iterable[HasParameters] | Mapping[str, HasParameters]]
    params: Sequence[str]
    lr: float
    weight_decay: float


Layers: TypeAlias = Iterable[HasParameters] | Mapping[str, HasParameters]
LayersOrGroups: TypeAlias = Iterable[HasParameters | ParameterGroup] | Mapping[str, HasParameters]


class Group:
    """The parameters that an optimizer updates with the same settings: an entry of `optimizer.groups`.

    layers         the layers, in order
    names          the names of the parameters; None for all
    scale          the learning rate is scale · optimizer.lr
    weight_decay   None for that of the optimizer
    params, grads  the parameters and their gradients, in order
    """

    scale: float = checked("scale", finite)
    weight_decay: float | None = checked("weight_decay", _optional)

    def __init__(
        self, layers: list[HasParameters], names: Sequence[str] | None, scale: float, weight_decay: float | None
    ) -> None:
        self.layers, self.names = layers, names
        self.scale, self.weight_decay = scale, weight_decay
        self.params, self.grads = map(FixedList, self._arrays())

    def _arrays(self) -> tuple[list[Array], list[Array]]:
        """The parameters that the layers have now, and their gradients."""
        if self.names is None:
            params = [p for layer in self.layers for p in layer.params]
            return params, [g for layer in self.layers for g in layer.grads]
        pairs = [pair for layer in self.layers for pair in _parameters(layer, self.names)]
        return [p for p, _ in pairs], [g for _, g in pairs]

    def check_replaced(self, optimizer: str) -> None:
        """Raises RuntimeError if a layer no longer has the arrays of the group."""
        params, grads = self._arrays()
        check_same("params", params, self.params, optimizer)
        check_same("grads", grads, self.grads, optimizer)

    @property
    def is_default(self) -> bool:
        """Whether the group has all parameters of its layers, and no settings of its own."""
        return self.names is None and self.scale == 1 and self.weight_decay is None


def check_same(name: str, found: list[Array], held: list[Array], optimizer: str) -> None:
    """Raises RuntimeError unless the layers have the arrays that the optimizer holds.   name: "params" or "grads\""""
    if len(found) == len(held) and (all(map(operator.is_, found, held)) or all(map(_is_same_memory, found, held))):
        return
    raise RuntimeError(
        f"an array in {name} of a layer was replaced after this {optimizer} was made: expected changes in place; write "
        f"{name}[i][...] = new, or make a new {optimizer}"
    )


def _is_same_memory(found: Any, held: Array) -> bool:
    """Whether a layer made another view of the same array."""
    return (
        type(found) is type(held)
        and (found.dtype, found.shape, found.strides) == (held.dtype, held.shape, held.strides)
        and users_of(found) is users_of(held)
    )


_EXAMPLE: Final = "expected a list of layers, as in SGD([rnn, linear])"


def _as_list(layers: Any) -> list[Any]:
    """The layers of a list, or of a dict by name; those of a Network in the list too.   Raises TypeError."""
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers is a {kind_of(layers)}: {_EXAMPLE}")
    if isinstance(layers, dict) and isinstance(layers.get("layers"), list | tuple | dict):
        raise TypeError("layers is one parameter group: expected a list of groups; put it into a list, as in [group]")
    given: list[Any] = []
    if _is_network(layers):
        listed: Iterable[Any] = [layers]
    elif isinstance(layers, Mapping):
        listed = layers.values()
    else:
        listed = layers
    for layer in listed:
        given += _distinct([*layer.values()]) if _is_network(layer) else [layer]
    return given


def _is_network(layers: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(layers, Mapping) and hasattr(layers, "params")


def _distinct(layers: list[Any]) -> list[Any]:
    """Without duplicates, and without layers that another one of the list contains."""
    grads = [frozenset(map(id, layer.grads)) for layer in layers]
    return [
        layer
        for i, layer in enumerate(layers)
        if not grads[i] or not (any(grads[i] < other for other in grads) or grads[i] in grads[:i])
    ]


def checked_layers(layers: Layers) -> list[HasParameters]:
    """`layers` as a list.   Raises TypeError for other objects, ValueError for read-only parameters."""
    given = _as_list(layers)
    for i, layer in enumerate(given):
        if not (hasattr(layer, "params") and hasattr(layer, "grads")):
            of_torch = type(layer).__module__.startswith("torch.")
            remedy = "; for the parameters of PyTorch's modules use torch.optim" if of_torch else ""
            raise TypeError(f"layers[{i}] is a {kind_of(layer)}: {_EXAMPLE}{remedy}")
        for k, param in enumerate(layer.params):
            if is_read_only(param):
                remedy = "make the layer of copies, as copy.deepcopy of a frozen layer does"
                if getattr(layer, "is_int8", False):
                    remedy = "train the float32 layer, then quantize it again"
                raise ValueError(
                    f"params[{k}] of layers[{i}] is read-only: expected parameters that can be updated in place; "
                    + remedy
                )
    return given


def groups_of(layers: LayersOrGroups, lr: float) -> list[Group]:
    """The groups of the `layers` of an optimizer; the layers that stand in no group form the first one."""
    given = _as_list(layers)
    own = [entry for entry in given if isinstance(entry, dict)]
    rest = checked_layers([entry for entry in given if not isinstance(entry, dict)])
    groups = [Group(rest, None, 1.0, None)] if rest or not own else []
    groups += [_group(entry, f"groups[{i}]", lr) for i, entry in enumerate(own, start=len(groups))]
    for group in groups:
        refuse_untrained(group.layers)
    return groups


def refuse_untrained(layers: Iterable[Any]) -> None:
    """Raises ValueError for a layer with needs_grads=False."""
    for layer in layers:
        if not getattr(layer, "needs_grads", True):
            inner = getattr(layer, "layers", [])
            if any(part.needs_grads for part in inner):
                where, remedy = " in a layer of it", "list its other layers instead"
            else:
                where, remedy = "", "leave this one out"
            raise ValueError(
                f"layers has a {kind_of(layer)} with needs_grads=False{where}: expected layers that are trained; "
                f"{remedy}, or set its needs_grads to True"
            )


def _group(given: dict[str, Any], name: str, lr: float) -> Group:
    known = (*ParameterGroup.__annotations__,)
    if unknown := [key for key in given if key not in known]:
        raise ValueError(f"{name} has the entry {unknown[0]!r}: expected {', '.join(known)}")
    if "layers" not in given:
        raise ValueError(f'{name} has no layers: expected a list of layers, as in {{"layers": [rnn], "lr": 0.01}}')
    layers = checked_layers(given["layers"])
    names = given.get("params")
    if names is not None:
        _check_names(name, names, layers)
    rate = finite(f"lr of {name}", given.get("lr", lr))
    return Group(layers, names, rate / lr, _optional(f"weight_decay of {name}", given.get("weight_decay")))


def _check_names(group: str, names: Any, layers: list[HasParameters]) -> None:
    """Raises TypeError, ValueError unless each of the names is that of a parameter of the layers."""
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise TypeError(f'params of {group} is {names!r}: expected a list of names, as in "params": ["Wh"]')
    known = [key for layer in layers for key in _names_of(layer)]
    for name in names:
        if not any(_matches(key, [name]) for key in known):
            raise ValueError(
                f"params of {group} has {name!r}: expected names of parameters of its layers, "
                f"{', '.join(dict.fromkeys(known)) or 'which have none'}"
            )


def _names_of(layer: Any) -> list[str]:
    return list(layer.named_params) if hasattr(layer, "named_params") else []


def _matches(key: str, names: Sequence[str]) -> bool:
    """Whether a parameter, such as "0.Wh" of a Stack, has one of the names: the whole one, or its last part."""
    return key in names or key.rpartition(".")[2] in names


def _parameters(layer: HasParameters, names: Sequence[str]) -> list[tuple[Array, Array]]:
    """The parameters with these names, and their gradients."""
    pairs = zip(layer.params, layer.grads, strict=True)
    return [pair for key, pair in zip(_names_of(layer), pairs, strict=True) if _matches(key, names)]
