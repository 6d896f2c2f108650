"""Sequences of different lengths: padding, batches of similar lengths, and the state at the end of each row."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

import numpy as np

from xrnn.arrays.convert import asarray, check_numbers
from xrnn.arrays.select import backend_of
from xrnn.backend import Backend
from xrnn.checks import check_index, check_integer, check_lengths, check_place, dtype_of
from xrnn.init import as_generator
from xrnn.messages import kind_of
from xrnn.typing import Array, HostArray, Lengths

Direction: TypeAlias = Literal["forward", "reverse", "both"]


class Directed(Protocol):
    """A recurrent layer, Bidirectional or Stack.

    directions   the number of features of each direction, and whether it runs in reverse
    """

    @property
    def directions(self) -> tuple[tuple[int, bool], ...]: ...


_SORTED_TOGETHER: Final = 4  # the number of batches whose sequences are sorted together


def pad(sequences: Sequence[Array | list[Any] | tuple[Any, ...]]) -> tuple[Array, Array]:
    """Join sequences of different lengths into one batch.

    sequences   N arrays (T_n, …) that differ only in T_n, on one backend and of one dtype, or nested lists of numbers

    → x (T, N, …) with T the largest T_n, and zeros past the end of each row; lengths (N,), int64, on the same device.
    Sequences (T_n, D) give an input of the recurrent layers, and sequences (T_n,) of integers an input of `Embedding`.

    Raises TypeError if the argument is not a list of arrays of numbers; ValueError if it is empty, or if shapes or
    devices differ.

    >>> x, lengths = pad([np.ones((2, 3)), np.ones((5, 3))])
    >>> x.shape, lengths.tolist()
    ((5, 2, 3), [2, 5])
    """
    if not isinstance(sequences, Sequence) or isinstance(sequences, str):
        raise TypeError(f"sequences is a {kind_of(sequences)}: expected a list of arrays; use list(sequences)")
    if not sequences:
        raise ValueError("sequences is empty: expected at least one sequence")
    arrays: list[Array] = [asarray(s, backend="numpy") if isinstance(s, list | tuple) else s for s in sequences]
    first = arrays[0]
    backend = backend_of(first, "sequences[0]")
    for n, array in enumerate(arrays):
        name = f"sequences[{n}]"
        check_place(name, array, backend, first.device, "sequences[0]")
        check_numbers(name, array)
        if array.dtype != first.dtype:
            raise TypeError(f"{name} has {dtype_of(array)}, but sequences[0] has {dtype_of(first)}: make them alike")
        if not array.ndim or array.shape[1:] != first.shape[1:]:
            expected = ", ".join(["T", *map(str, first.shape[1:])])
            raise ValueError(f"{name} has shape {array.shape}: expected ({expected}), as sequences[0], with any T")
    lengths = np.array([len(array) for array in arrays], np.int64)
    with backend.device_of(first):
        x = backend.xp.zeros((int(lengths.max()), len(arrays), *first.shape[1:]), first.dtype)
        for n, array in enumerate(arrays):
            x[: len(array), n] = array
        return x, backend.asarray(lengths)


def batches(lengths: Lengths, size: int, *, rng: np.random.Generator | int | None = None) -> list[HostArray]:
    """One epoch: each sequence once, in batches of sequences of similar lengths, in random order.

    lengths   (count,) integers on the host, or a list
    size      the largest number of sequences in a batch; the sizes of the batches differ by 1 at most
    rng       a Generator gives another order in each epoch, a seed the same order again, None a random order

    → the indices of each batch.

    The longest sequence of a batch determines its cost. So the sequences of a few random batches at a time are sorted
    by length and divided into batches again.

    Raises TypeError and ValueError for lengths that are not integers (count,), or a size below 1.

    >>> sequences = [np.ones((n, 2)) for n in (3, 9, 4, 8, 3, 9)]
    >>> for chosen in batches([len(s) for s in sequences], 2, rng=0):
    ...     x, lengths = pad([sequences[i] for i in chosen])
    """
    on_host = asarray(lengths if len(lengths) else np.zeros(0, np.int64), backend="numpy")
    check_index("lengths", on_host, backend_of(on_host), on_host.device, "lengths")
    if on_host.ndim != 1:
        raise ValueError(f"lengths has shape {on_host.shape}: expected (count,), one for each sequence")
    count = -(-len(on_host) // check_integer("size", size, least=1))
    if not count:
        return []
    rng = as_generator(rng)
    # Sorting more than half of all sequences together would give nearly the same batches in every epoch.
    together = max(1, min(_SORTED_TOGETHER, count // 2))
    drawn = np.array_split(rng.permutation(len(on_host)), count)
    divided: list[HostArray] = []
    for first in range(0, count, together):
        group = drawn[first : first + together]
        by_length = np.concatenate(group)
        by_length = by_length[np.argsort(on_host[by_length], kind="stable")]
        divided += np.split(by_length, np.cumsum([len(batch) for batch in group])[:-1])
    return [divided[i] for i in rng.permutation(count)]


def last(h: Array, lengths: Lengths | None = None, *, direction: Direction | Directed = "forward") -> Array:
    """The state at the end of each row: y[n] = h[lengths[n] - 1, n], or h[0, n] for a layer that runs in reverse.

    h           (T, N, H), the result of a layer
    lengths     (N,), the lengths that the layer was called with; None if it was called without
    direction   the layer that returned h: a recurrent layer, Bidirectional or Stack. Or "forward"; "reverse" for a
                layer with `reverse=True`; "both" for a Bidirectional of two layers of equal size: the first half of
                the features runs forward, the second half in reverse

    → (N, H), a copy. A row of length 0 has its initial state. `last_gradient` is the backward pass.

    Raises TypeError and ValueError for arrays of other kinds or shapes, or another direction.

    >>> h = np.arange(6.0).reshape(3, 2, 1)
    >>> last(h, np.array([1, 3])).ravel().tolist()
    [0.0, 5.0]
    """
    backend, index = _ends(h, lengths)
    halves = _halves(h.shape[2], index, direction)
    with backend.device_of(h):
        y: Array = backend.xp.empty(h.shape[1:], h.dtype)
        for features, at in halves:
            y[:, features] = h[..., features][at]
    return y


def last_gradient(
    dy: Array, h: Array, lengths: Lengths | None = None, *, direction: Direction | Directed = "forward"
) -> Array:
    """The backward pass of `last`: dh (T, N, H), zero except at the end of each row.   dy (N, H)

    The other arguments and the errors are those of `last`.

    >>> h = np.zeros((3, 2, 1))
    >>> last_gradient(np.ones((2, 1)), h, np.array([1, 3]))[..., 0].tolist()
    [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    """
    backend, index = _ends(h, lengths)
    halves = _halves(h.shape[2], index, direction)
    check_place("dy", dy, backend, h.device, "h")
    if dy.shape != h.shape[1:] or dy.dtype != h.dtype:
        raise ValueError(f"dy is {dy.dtype} {dy.shape}, but last returned {h.dtype} {h.shape[1:]}: match it")
    with backend.device_of(h):
        dh: Array = backend.xp.zeros(h.shape, h.dtype)
        for features, at in halves:
            dh[..., features][at] = dy[:, features]
    return dh


def _ends(h: Array, lengths: Lengths | None) -> tuple[Backend, Any]:
    """The backend of h, and the index of the last step of each row."""
    backend = backend_of(h, "h")
    check_numbers("h", h)
    if h.ndim != 3 or not len(h):
        raise ValueError(f"h has shape {h.shape}: expected (T, N, H) with T > 0, the result of a recurrent layer")
    T, N, _ = h.shape
    with backend.device_of(h):
        rows = backend.xp.arange(N)
        if lengths is None:
            return backend, (backend.xp.full(N, T - 1), rows)
        lengths = check_lengths(lengths, N, T, backend, h.device, "h")
        return backend, (backend.xp.maximum(lengths - 1, 0), rows)


def _halves(H: int, forward: Any, direction: Direction | Directed) -> list[tuple[slice, Any]]:
    """Slices of the features, each with the index of its final states in (T, N)."""
    names = get_args(Direction)
    if not isinstance(direction, str):
        if not isinstance(directions := getattr(direction, "directions", None), tuple):
            raise TypeError(
                f"direction is a {kind_of(direction)}: expected the layer that returned h, or one of {', '.join(names)}"
            )
        if (total := sum(size for size, _ in directions)) != H:
            raise ValueError(f"h has {H} features, but the layer in direction gives {total}: pass the layer of this h")
    elif direction not in names:
        raise ValueError(f"unknown direction {direction!r}: expected one of {', '.join(names)}, or the layer itself")
    elif direction == "both":
        if H % 2:
            raise ValueError(f"h has {H} features: expected an even number, two halves; pass the Bidirectional itself")
        directions = (H // 2, False), (H // 2, True)
    else:
        directions = ((H, direction == "reverse"),)
    ends = itertools.accumulate(size for size, _ in directions)
    return [
        (slice(end - size, end), 0 if reverse else forward)
        for end, (size, reverse) in zip(ends, directions, strict=True)
    ]
