"""A dict of named layers, with the parameters and gradients of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_type_hints

from xrnn.checks import check_bool
from xrnn.messages import kind_of
from xrnn.sharing import FixedList
from xrnn.typing import Array


class Network(Mapping[str, Any]):
    """Layers by name: `network["gru"]`, also as attributes, `network.gru`.

    params   the parameters of all layers, in order
    grads    their gradients, in the same order

    needs_grads   whether all layers are trained; setting it sets that of each layer

    The layers cannot be exchanged. A layer with two names counts once in `params` and `grads`. `Adam(network)`,
    `EMA(network)`, `freeze`, `save`, `save_checkpoint` and `xrnn.parallel`'s `broadcast(network.params)` take all its
    layers.

    A subclass names its layers, so that editors and type checkers know them, and has a `forward` of its own:

        class Tagger(Network):
            gru: GRU
            readout: Linear

            def forward(self, x: Array) -> Array:
                return self.readout.forward(self.gru.forward(x))

    The constructor and `load` then refuse other layers under these names.

    Raises TypeError if an argument is not a layer, or not of the class that the annotations name; ValueError for a
    layer with the name of another attribute, such as `items`, for two parameters with one name, and for two layers that
    share an array.

    >>> network = Network(gru=GRU.init(3, 8, rng=0), readout=Linear.init(8, 1, rng=1))
    >>> list(network), network.readout.W.shape
    (['gru', 'readout'], (8, 1))
    >>> optimizer = Adam(network, lr=0.01)
    """

    def __init__(self, /, **layers: Any) -> None:
        for name, layer in layers.items():
            if not all(hasattr(layer, attribute) for attribute in ("params", "grads", "named_params")):
                raise TypeError(f"{name} is a {kind_of(layer)}: expected a layer, as in Network(gru=GRU.init(3, 8))")
            if isinstance(layer, Network):
                raise TypeError(f"{name} is a Network: pass its layers, Network(**network)")
        self._layers: dict[str, Any] = {}
        if taken := [name for name in layers if name in dir(self)]:
            raise ValueError(
                f"{taken[0]} is an attribute of each {type(self).__name__}: expected other names of layers; rename it"
            )
        _check_classes(type(self), layers)
        _check_params(layers)
        self._layers = layers

    def __getitem__(self, name: str) -> Any:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getattr__(self, name: str) -> Any:
        layers = vars(self).get("_layers", {})
        if name not in layers:
            raise AttributeError(
                f"this {type(self).__name__} has no layer {name!r}: expected one of {', '.join(layers)}"
            )
        return layers[name]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={layer!r}' for name, layer in self.items())})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self).get("_layers", {}):
            raise AttributeError(
                f"{name} of this {type(self).__name__} can't be replaced, because optimizers hold the layer: make "
                "another network"
            )
        super().__setattr__(name, value)

    @property
    def params(self) -> list[Array]:
        return _distinct(param for layer in self.values() for param in layer.params)

    @property
    def grads(self) -> list[Array]:
        return _distinct(grad for layer in self.values() for grad in layer.grads)

    @property
    def named_params(self) -> dict[str, Array]:
        """The parameters by name, with the name of their layer in front: `gru.Wx`."""
        named = {f"{name}.{key}": p for name, layer in self.items() for key, p in layer.named_params.items()}
        first = {id(p): name for name, p in reversed(named.items())}
        return {name: p for name, p in named.items() if first[id(p)] == name}

    @property
    def needs_grads(self) -> bool:
        return all(getattr(layer, "needs_grads", True) for layer in self.values())

    @needs_grads.setter
    def needs_grads(self, needed: bool) -> None:
        needed = check_bool("needs_grads", needed)
        for layer in self.values():
            if hasattr(layer, "needs_grads"):
                layer.needs_grads = needed


def _check_classes(network: type, layers: Mapping[str, Any]) -> None:
    """Raises TypeError unless `layers` has those that the class annotates, of the annotated classes."""
    try:
        hints = get_type_hints(network)
    except NameError:  # the class was defined in a function, or imports its annotations for type checkers only
        return
    for name, kind in hints.items():
        if isinstance(kind, type) and hasattr(kind, "named_params") and not isinstance(layers.get(name), kind):
            got = f"is a {kind_of(layers[name])}" if name in layers else "is missing"
            raise TypeError(
                f"{name} {got}: expected a {kind.__name__}, as {network.__name__} annotates it; pass {name}=…"
            )


def _check_params(layers: Mapping[str, Any]) -> None:
    """Raises ValueError unless each parameter has one gradient and a name of its own."""
    named: dict[str, Array] = {}
    first: dict[int, tuple[str, Array]] = {}  # by parameter: its first name, and its gradient
    for name, layer in layers.items():
        for key, param in layer.named_params.items():
            full = f"{name}.{key}"
            if named.setdefault(full, param) is not param:
                raise ValueError(f"two parameters have the name {full}: rename {name}")
        for key, param, grad in zip(layer.named_params, layer.params, layer.grads, strict=False):  # int8 has no grads
            other, its_grad = first.setdefault(id(param), (f"{name}.{key}", grad))
            if its_grad is not grad:
                raise ValueError(
                    f"{name}.{key} is the same array as {other}, with another gradient: expected one layer for both; "
                    "give it both names"
                )


def _distinct(arrays: Iterable[Array]) -> list[Array]:
    return FixedList({id(array): array for array in arrays}.values())
