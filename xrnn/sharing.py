"""Records which layers use an array, so that an update through one layer is counted in all of them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Final

from xrnn.select import backend_of
from xrnn.typing import Array


class Users:
    """The layers that hold an array, or another array at the same address."""

    def __init__(self) -> None:
        self.layers: list[weakref.ref[Any]] = []

    def add(self, layer: Any) -> None:
        self.layers.append(weakref.ref(layer, self.layers.remove))


_lock: Final = threading.Lock()
# Layers and optimizers refer to the entries of their arrays. An entry is removed with its last reference.
_users: Final[weakref.WeakValueDictionary[tuple[str, int], Users]] = weakref.WeakValueDictionary()


def users_of(array: Array) -> Users:
    """The layers that use `array`."""
    backend = backend_of(array)
    with _lock:
        return _users.setdefault((backend.name, backend.address(array)), Users())


def count_update(updated: Iterable[Users]) -> None:
    """Add one to `updates` of each layer that uses an updated array. `backward` detects updates by this count."""
    for layer in {layer for users in updated for ref in tuple(users.layers) if (layer := ref()) is not None}:
        layer.updates += 1


def refuse_shared(layers: Mapping[Any, Any], problem: str) -> None:
    """Raises ValueError, with the problem and its remedy, if two parameters of the layers are the same array."""
    owner: dict[Users, str] = {}
    for key, layer in layers.items():
        for k, param in enumerate(layer.params):
            name = f"params[{k}] of layers[{key!r}]"
            first = owner.setdefault(users_of(param), name) if param.size else name
            if first is not name:
                raise ValueError(f"{name} is the same array as {first}, {problem}")
