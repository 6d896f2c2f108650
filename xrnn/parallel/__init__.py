"""Data-parallel training: each process, a rank, computes the gradients of its share of the batch.

from xrnn.parallel import world
comm = world()                        # `mpiexec -n 4 python script.py`: one of 4 ranks; without mpiexec, the only one
comm.broadcast(optimizer.params)      # all ranks start from the weights of rank 0
…
comm.mean(optimizer.grads)            # before clip_grad_norm and optimizer.step
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_float, check_number, check_place
from xrnn.parallel.mpi import SECONDS_AFTER_RANK_0, ParallelError, connect
from xrnn.select import backend_of, device_of, kind_of, to_numpy
from xrnn.sharing import count_update, users_of
from xrnn.typing import Array, HostArray

__all__ = ["ParallelError", "World", "world"]

_RECENT: Final = 8  # calls of `mean`: enough to know the next one in a loop of 9
_MOST_EXPECTED: Final = 1000  # so that memory does not grow with calls in random order


@functools.cache
def world() -> World:
    """The ranks that the launcher started, or this process alone.

    Raises ParallelError if the launcher started several processes that can't be connected.
    """
    return World(connect())


def let_rank_0_report() -> None:
    """Wait for a second in the other ranks: if all have an error, rank 0 prints it and ends them."""
    if (ranks := _ranks()) and ranks.rank:
        time.sleep(SECONDS_AFTER_RANK_0)


def end_all(status: int) -> None:
    """End all ranks with this exit status, after an error that has been printed. A single process continues."""
    if ranks := _ranks():
        ranks.abort(status)


def _ranks() -> Any:
    """The connection to the other ranks, made now if this rank has not used it: the others may be waiting for it."""
    with contextlib.suppress(ParallelError):
        return world()._ranks


class World:
    """The ranks of a run. With one rank, the operations return at once and leave their arrays unchanged.

    All ranks must make the same calls in the same order, with arrays of the same sizes: a rank waits for the others.
    NumPy arrays are sent by MPI, CuPy arrays by NCCL on the current stream.

    rank, size   the number of this rank, from 0, and the number of ranks
    local_rank   the number of this rank among those of its host: the number of its GPU
    """

    def __init__(self, ranks: Any = None) -> None:
        """ranks: the connection to the other ranks, `Ranks`; None for a single process."""
        self._ranks = ranks
        self.rank: int = ranks.rank if ranks else 0
        self.size: int = ranks.size if ranks else 1
        self.local_rank: int = ranks.local_rank if ranks else 0
        self._buffers: dict[Any, _Buffer] = {}
        # The numbers of the layouts of the last calls of `mean`, and the layout that followed such calls before. All
        # ranks have made the same calls, so they expect the same layout.
        self._numbers: dict[_Layout, int] = {}
        self._recent: tuple[int, ...] = ()
        self._next: dict[tuple[int, ...], _Layout] = {}
        self._carriers: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<xrnn.parallel: rank {self.rank} of {self.size}>"

    def mean(self, arrays: Sequence[Array], weight: float = 1.0) -> None:
        """a ← Σ weight · a / Σ weight over all ranks, in place, for each array; one message for all of them.

        All ranks must pass the same sizes, which is checked. In a loop with up to 9 calls of `mean`, the check needs no
        message of its own from the second pass on; with CuPy arrays, one of a single number. All other calls take
        one or two messages more.

        arrays   float32 or float64 arrays of one dtype on one device, such as `optimizer.grads`
        weight   the number of samples that this rank's arrays are means over, if the ranks have different numbers

        The result has the same bits in each rank, and in each run with the same number of ranks.

        Raises TypeError and ValueError for other arrays, for a negative weight, and if the sizes, dtypes or backends
        differ between ranks.
        """
        check_number("weight", weight, "a finite number of at least 0", lambda weight: 0 <= weight < math.inf)
        if self._ranks is None:
            return
        layout, buffer = self._buffer(arrays)
        if not self._sum_if_expected(buffer, arrays, weight, layout):
            self._agree(arrays)
            self._sum(buffer, arrays, weight)
        self._expect(layout)
        with buffer.backend.device_of(arrays[0]):
            if buffer.backend.reads_are_free and not buffer.total[0]:
                raise ValueError("weight is 0 in all ranks: expected a positive weight in one of them; skip the update")
            buffer.arrays /= buffer.total
            for part, array in zip(buffer.parts, arrays, strict=True):
                array[...] = part

    def broadcast(self, arrays: Sequence[Array]) -> None:
        """Copy the arrays of rank 0 into those of the other ranks, in place.   Raises as `mean`."""
        if self._ranks is None:
            return
        self._agree(arrays)
        for array in arrays:
            with device_of(array):
                flat = backend_of(array).xp.ascontiguousarray(array).reshape(-1)
                self._carrier(array).broadcast(flat)
                array[...] = flat.reshape(array.shape)
        count_update(map(users_of, arrays))

    def gather(self, array: Array) -> list[HostArray]:
        """The arrays of all ranks on the host, in the order of the ranks, for rank 0; an empty list for the others.

        The first axes may have different lengths.

        Raises ValueError if the dtypes or the other axes differ between ranks.
        """
        mine = np.ascontiguousarray(to_numpy(array))
        if self._ranks is None:
            return [mine]
        self._require_same("array", f"{mine.dtype} (·, {', '.join(map(str, mine.shape[1:]))})")
        parts = self._ranks.gather(mine.reshape(-1).view(np.uint8))
        return [part.view(mine.dtype).reshape(-1, *mine.shape[1:]) for part in parts]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self._ranks:
            self._ranks.barrier()

    def _buffer(self, arrays: Sequence[Array]) -> tuple[_Layout, _Buffer]:
        """The layout of the arrays, and the buffer for them."""
        backend = _checked(arrays)
        shapes = tuple(array.shape for array in arrays)
        layout = _Layout(backend.name, backend.reads_are_free, arrays[0].dtype.char, shapes)
        key = layout, arrays[0].device
        if key not in self._buffers:
            self._buffers[key] = _Buffer(backend, arrays)
        return layout, self._buffers[key]

    def _sum_if_expected(self, buffer: _Buffer, arrays: Sequence[Array], weight: float, layout: _Layout) -> bool:
        """`_sum`, if all ranks have the expected layout: the one that followed the same recent calls before.

        Otherwise, False in all ranks. On the host this takes no message of its own: a rank with another layout sends
        NaN as the sum of weights, in a buffer of the expected size. On a device, reading the sum of weights would
        wait for the device, so the hosts compare their layouts by a message of one number.
        """
        expected = self._next.get(self._recent)
        if expected is None:
            return False
        if not expected.on_host:
            others = np.array([float(layout != expected)])
            self._ranks.sum(others)
            if others[0]:
                return False
        elif layout != expected:
            self._ranks.sum(np.full(expected.numbers + 1, math.nan, expected.dtype))
            return False
        self._sum(buffer, arrays, weight)
        return not (expected.on_host and math.isnan(buffer.total[0]))

    def _expect(self, layout: _Layout) -> None:
        """Expect `layout` whenever the calls so far are repeated."""
        if len(self._next) >= _MOST_EXPECTED:  # in all ranks at the same call
            for memory in (self._next, self._numbers, self._buffers):
                memory.clear()
            self._recent = ()
        self._next[self._recent] = layout
        number = self._numbers.setdefault(layout, len(self._numbers))
        self._recent = (*self._recent[1 - _RECENT :], number)

    def _sum(self, buffer: _Buffer, arrays: Sequence[Array], weight: float) -> None:
        """buffer ← Σ weight · arrays and Σ weight, over all ranks."""
        with buffer.backend.device_of(arrays[0]):
            for part, array in zip(buffer.parts, arrays, strict=True):
                buffer.backend.xp.multiply(array, float(weight), out=part)
            buffer.total[...] = float(weight)
            self._carrier(arrays[0]).sum(buffer.all)

    def _agree(self, arrays: Sequence[Array]) -> None:
        """Raises ValueError in all ranks unless they have arrays of the same sizes, dtypes and backends."""
        sizes = ", ".join(f"{backend_of(a, 'arrays').name} {a.dtype} {a.shape}" for a in arrays)
        self._require_same("arrays", f"{len(arrays)} arrays with {sum(a.size for a in arrays):,} numbers: {sizes}")

    def _require_same(self, what: str, text: str) -> None:
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()  # `texts` cuts a long text
        texts = self._ranks.texts(digest + text)
        for rank, other in enumerate(texts):
            if other != texts[0]:
                first, other = (each[len(digest) :] for each in (texts[0], other))
                raise ValueError(
                    f"{what} differ between ranks: rank 0 has {first}, rank {rank} has {other}; "
                    "call with the same sizes, dtypes and backends in all ranks"
                )

    def _carrier(self, array: Array) -> Any:
        """The connection that sends the arrays of this backend and device: MPI, or the backend's own."""
        backend = backend_of(array)
        key = backend, array.device
        if key not in self._carriers:
            self._carriers[key] = backend.connect(self.rank, self.size) or self._ranks
        return self._carriers[key]


class _Layout(NamedTuple):
    """The sizes of the arrays of a call of `mean`."""

    backend: str
    on_host: bool
    dtype: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def numbers(self) -> int:
        return sum(map(math.prod, self.shapes))


class _Buffer:
    """A contiguous buffer for arrays of certain sizes.

    arrays   the vector of all numbers; `parts` are its views with the shapes of the arrays
    total    the sum of the weights, (1,)
    all      both, one after the other
    """

    def __init__(self, backend: Backend, arrays: Sequence[Array]) -> None:
        self.backend = backend
        size = sum(array.size for array in arrays)
        with backend.device_of(arrays[0]):
            self.all: Array = backend.xp.empty(size + 1, arrays[0].dtype)
        self.arrays, self.total = self.all[:size], self.all[size:]
        self.parts: list[Array] = []
        start = 0
        for array in arrays:
            self.parts.append(self.all[start : start + array.size].reshape(array.shape))
            start += array.size


def _checked(arrays: Any) -> Backend:
    """The backend of the arrays.   Raises TypeError and ValueError."""
    if not isinstance(arrays, Sequence):
        raise TypeError(f"arrays is a {kind_of(arrays)}: expected a list of arrays, such as optimizer.grads")
    if not arrays:
        raise ValueError("arrays is empty: expected the arrays to average; pass optimizer.grads")
    backend = check_float("arrays[0]", arrays[0])
    for i, array in enumerate(arrays):
        check_place(f"arrays[{i}]", array, backend, arrays[0].device, "arrays[0]")
        if array.dtype != arrays[0].dtype:
            raise TypeError(
                f"arrays[{i}] has dtype {array.dtype}, but arrays[0] has {arrays[0].dtype}: expected one dtype; "
                "call mean once for each"
            )
    return backend
