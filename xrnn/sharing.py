"""Records which layers use an array, so that an update through one layer is counted in all of them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from xrnn.arrays.select import backend_of
from xrnn.typing import Array


class Users:
    """The layers that hold an array, or another array at the same address.

    is_averaged   whether an `EMA` has exchanged its values for their average
    """

    def __init__(self) -> None:
        self.layers: list[weakref.ref[Any]] = []
        self.is_averaged = False

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


class FixedList(list[Array]):
    """The arrays of several layers, or of an optimizer, in one list.

    Assigning another array here would change no layer, so it raises TypeError.
    """

    def __setitem__(self, index: Any, value: Any) -> None:
        if value is self[index]:  # `stack.params[0] -= 1` assigns the same array
            return
        raise TypeError(
            "an array in this list can't be replaced: expected a change in place, because layers and optimizers hold "
            "the same array; write params[i][...] = new"
        )


def refuse_shared(layers: Mapping[Any, Any], problem: str, remedy: str) -> None:
    """Raises ValueError, with the problem, if two parameters of the layers share memory.

    remedy   for two parameters that are the same array, because a layer shares the weights of another
    """
    names = [f"params[{k}] of layers[{key!r}]" for key, layer in layers.items() for k in range(len(layer.params))]
    params = [param for layer in layers.values() for param in layer.params]
    pairs = _overlaps(params)
    if not pairs:
        return
    later, earlier = min(pairs)
    if users_of(params[later]) is users_of(params[earlier]):
        raise ValueError(f"{names[later]} is the same array as {names[earlier]}, {problem}: {remedy}")
    raise ValueError(f"{names[later]} overlaps {names[earlier]} in memory, {problem}: make one of the two from a copy")


def _overlaps(arrays: Sequence[Array]) -> list[tuple[int, int]]:
    """The indices (later, earlier) of every two arrays that share memory."""
    outlines = [backend_of(array).outline(array) for array in arrays]
    bounds = sorted((*np.lib.array_utils.byte_bounds(array), i) for i, array in enumerate(outlines) if array.size)
    pairs: list[tuple[int, int]] = []
    open_: list[tuple[int, int]] = []  # the end and the index of the arrays that end after the first byte of this one
    for first, end, i in bounds:
        open_ = [(last, j) for last, j in open_ if last > first]
        # The bounds of two blocks of columns of one buffer overlap too. The blocks themselves don't.
        pairs += [(max(i, j), min(i, j)) for _, j in open_ if np.shares_memory(outlines[i], outlines[j])]
        open_.append((end, i))
    return pairs
