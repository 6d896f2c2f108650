"""Which layers use an array, so that an update through one of them is noticed by all of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Final

from xrnn.select import backend_of
from xrnn.typing import Array


class Users:
    """The layers that hold an array, or another array at the same address."""

    def __init__(self) -> None:
        self.layers: list[weakref.ref[Any]] = []

    def add(self, layer: Any) -> None:
        self.layers = [ref for ref in self.layers if ref() is not None] + [weakref.ref(layer)]


# An entry lasts as long as a layer or an optimizer refers to it.
_users: Final[weakref.WeakValueDictionary[tuple[str, int], Users]] = weakref.WeakValueDictionary()


def users_of(array: Array) -> Users:
    """The layers that use `array`."""
    backend = backend_of(array)
    return _users.setdefault((backend.name, backend.address(array)), Users())


def count_update(updated: Iterable[Users]) -> None:
    """Add one to the `updates` of each layer that uses an updated array. A `backward` compares this count."""
    for layer in {layer for users in updated for ref in users.layers if (layer := ref()) is not None}:
        layer.updates += 1
