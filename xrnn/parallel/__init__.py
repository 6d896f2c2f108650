"""Data-parallel training: each process, a rank, computes the gradients of its share of the batch.

from xrnn.parallel import world
comm = world()                        # `mpiexec -n 4 python script.py`: one of 4 ranks; without mpiexec, the only one
comm.broadcast(optimizer.params)      # all ranks start from the weights of rank 0
reduce = comm.reducer(optimizer.grads)
…
reduce(optimizer.grads)               # before clip_grad_norm and optimizer.step
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.arrays.convert import to_numpy
from xrnn.arrays.select import backend_of, device_of
from xrnn.backend import Backend
from xrnn.checks import check_float, check_number, check_place
from xrnn.messages import kind_of
from xrnn.parallel import nccl
from xrnn.parallel.launcher import ParallelError, launched
from xrnn.parallel.mpi import Ranks, different_calls
from xrnn.sharing import count_update, users_of
from xrnn.typing import Array, HostArray

__all__ = ["ParallelError", "Reducer", "World", "world"]

# Each reducer has a communicator of its own, and MPI libraries have about 2000 of them.
_MOST_REDUCERS: Final = 1000
_DIGEST: Final = 8  # bytes


@functools.cache
def world() -> World:
    """The ranks that the launcher started, or this process alone.

    Raises ParallelError if the launcher started several processes that can't be connected.
    """
    MPI = launched()
    return World(Ranks(MPI) if MPI else None)


class World:
    """The ranks of a run. With one rank, the operations only check their arrays, and leave them unchanged.

    All ranks must make the same calls in the same order, with arrays of the same sizes: a rank waits for the others.
    If they make different calls, or if one of them ends, all end with an error that names the calls.
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
        self._reducers = 0
        self._carriers: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<xrnn.parallel: rank {self.rank} of {self.size}>"

    def reducer(self, arrays: Sequence[Array]) -> Reducer:
        """A function that averages arrays like these over all ranks, for a training loop. A call sends two messages.

        arrays   as for `mean`; only their number, shapes, dtype and backend are used

        Make it once, before the loop: this call compares the arrays of the ranks, and later calls need not.

        Raises as `mean`, and ValueError for the 1001st reducer of a run.
        """
        _checked(arrays)
        if self._ranks is None:
            return Reducer(arrays, None, None, 1)
        self._agree("reducer", arrays)
        self._reducers += 1
        if self._reducers > _MOST_REDUCERS:
            raise ValueError(
                f"this is reducer {self._reducers:,}: expected one for each list of arrays, made before the loop"
            )
        name = f"reducer {self._reducers} ({len(arrays)} arrays with {sum(a.size for a in arrays):,} numbers)"
        return Reducer(arrays, self._ranks.channel(name), self._carrier(arrays[0]), self.size)

    def mean(self, arrays: Sequence[Array], weight: float = 1.0) -> None:
        """a ← Σ weight · a / Σ weight over all ranks, in place, for each array; three messages for all of them.

        All ranks must pass the same sizes. Each call checks this by a message of its own; a `reducer` checks it once.

        arrays   float32 or float64 arrays of one dtype on one device, such as `optimizer.grads`
        weight   the number of samples in this rank's share, if the ranks have different numbers;
                 the arrays of a rank with weight 0 are not used, whatever they hold

        The result has the same bits in each rank, and in each run with the same number of ranks. It is finite if all
        arrays are.

        Raises TypeError and ValueError for other arrays, for a negative weight, and if the sizes, dtypes or backends
        differ between ranks; ParallelError if another rank makes another call.
        """
        _check_weight(weight)
        backend = _checked(arrays)
        if self._ranks is None:
            return
        self._agree("mean", arrays)
        _Buffer(backend, arrays, self.size).average(arrays, weight, self._ranks, self._carrier(arrays[0]))

    def broadcast(self, arrays: Sequence[Array]) -> None:
        """Copy the arrays of rank 0 into those of the other ranks, in place.   Raises as `mean`."""
        self._agree("broadcast", arrays)
        if self._ranks is None:
            return
        for array in arrays:
            with device_of(array):
                flat = backend_of(array).xp.ascontiguousarray(array).reshape(-1)
                self._carrier(array).broadcast(flat)
                array[...] = flat.reshape(array.shape)
        count_update(map(users_of, arrays))

    def gather(self, array: Array) -> list[HostArray]:
        """The arrays of all ranks on the host, in the order of the ranks, for rank 0; an empty list for the others.

        The first axes may have different lengths.

        Raises ValueError if the dtypes or the other axes differ between ranks; ParallelError as `mean`.
        """
        mine = np.ascontiguousarray(to_numpy(array))
        if self._ranks is None:
            return [mine]
        self._require_same("gather", "array", f"{mine.dtype} (·, {', '.join(map(str, mine.shape[1:]))})")
        parts = self._ranks.gather(mine.reshape(-1).view(np.uint8))
        return [part.view(mine.dtype).reshape(-1, *mine.shape[1:]) for part in parts]

    def barrier(self) -> None:
        """Wait until all ranks are here.   Raises ParallelError as `mean`."""
        if self._ranks:
            self._require_same("barrier", "", "")

    def _agree(self, call: str, arrays: Sequence[Array]) -> None:
        """Raises ValueError in all ranks unless they have arrays of the same sizes, dtypes and backends."""
        sizes = ", ".join(f"{backend_of(a, 'arrays').name} {a.dtype} {a.shape}" for a in arrays)
        text = f"{len(arrays)} arrays with {sum(a.size for a in arrays):,} numbers: {sizes}"
        if self._ranks:
            self._require_same(call, "arrays", text)

    def _require_same(self, call: str, what: str, text: str) -> None:
        """Raises in all ranks ParallelError unless they make the same call, ValueError unless they have this text."""
        digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST).hexdigest()  # `texts` cuts a long text
        texts = self._ranks.texts(call, digest + text)
        if message := different_calls({rank: of_rank for rank, (of_rank, _) in enumerate(texts)}):
            raise ParallelError(message)
        for rank, (_, other) in enumerate(texts):
            if other != texts[0][1]:
                first, other = (text[2 * _DIGEST :] for text in (texts[0][1], other))
                raise ValueError(
                    f"{what} differ between ranks: rank 0 has {first}, rank {rank} has {other}; "
                    "call with the same sizes, dtypes and backends in all ranks"
                )

    def _carrier(self, array: Array) -> Any:
        """The connection that sends the arrays of this backend and device: MPI from host memory, NCCL from a GPU."""
        backend = backend_of(array)
        if backend.reads_are_free:
            return self._ranks
        key = backend, array.device
        if key not in self._carriers:
            self._carriers[key] = nccl.NCCL(backend, self.rank, self.size)
        return self._carriers[key]


class Reducer:
    """Averages arrays over all ranks, in place. `World.reducer` makes it."""

    def __init__(self, arrays: Sequence[Array], channel: Any, carrier: Any, ranks: int) -> None:
        """channel: the host's connection for this reducer alone, None for a single process; carrier: of the arrays."""
        self._channel, self._carrier = channel, carrier
        backend = backend_of(arrays[0])
        self._layout = _Layout.of(backend, arrays)
        self._buffer = None if channel is None else _Buffer(backend, arrays, ranks)

    def __call__(self, arrays: Sequence[Array], weight: float = 1.0) -> None:
        """a ← Σ weight · a / Σ weight over all ranks, in place, for each array, as `World.mean` computes it.

        arrays   arrays like those the reducer was made for: the same or others

        All ranks must call the same reducer.

        Raises TypeError and ValueError for arrays that `World.mean` refuses, and for other shapes, another dtype,
        backend or device than those the reducer was made for.
        """
        _check_weight(weight)
        layout = _Layout.of(_checked(arrays), arrays)
        if layout != self._layout:
            raise ValueError(
                f"arrays are {layout}, but this reducer was made for {self._layout}: expected the same; make another "
                "reducer for them"
            )
        if self._buffer is not None:
            on_host = self._layout.backend.reads_are_free
            self._buffer.average(arrays, weight, self._channel, self._channel if on_host else self._carrier)


class _Layout(NamedTuple):
    """What the arrays of all ranks must have in common, and the device of this rank."""

    backend: Backend
    device: Any
    dtype: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, backend: Backend, arrays: Sequence[Array]) -> _Layout:
        return cls(backend, arrays[0].device, arrays[0].dtype, tuple(array.shape for array in arrays))

    def __str__(self) -> str:
        shapes = ", ".join(map(str, self.shapes))
        return f"{len(self.shapes)} {self.backend.name} arrays, {self.dtype}, {shapes} on {self.device}"


class _Buffer:
    """A contiguous buffer for arrays of one layout.

    all     the vector of all numbers; `parts` are its views with the shapes of the arrays
    """

    def __init__(self, backend: Backend, arrays: Sequence[Array], ranks: int) -> None:
        self.layout = _Layout.of(backend, arrays)
        self._limits = np.finfo(arrays[0].dtype)
        self._bits = ranks.bit_length()  # ranks < 2^bits
        with backend.device_of(arrays[0]):
            self.all: Array = backend.xp.empty(sum(array.size for array in arrays), arrays[0].dtype)
        self.parts: list[Array] = []
        start = 0
        for array in arrays:
            self.parts.append(self.all[start : start + array.size].reshape(array.shape))
            start += array.size

    def average(self, arrays: Sequence[Array], weight: float, host: Any, carrier: Any) -> None:
        """arrays ← Σ weight · arrays / Σ weight over all ranks.   Raises ValueError if all weights are 0.

        host, carrier   the connections of the host and of the arrays

        The first message has the weights. With these, all ranks scale their weights by the same power of two, so that
        their sum is from 1/4 to 1/2: the sum of the products, in the second message, does not overflow.
        """
        least, most = float(self._limits.tiny), float(self._limits.max)
        if weight and not least <= weight <= most:
            raise ValueError(f"weight is {weight}: expected 0, or a number from {least:.3g} to {most:.3g}; scale it")
        share = float(self._limits.dtype.type(weight)) / 2.0**self._bits  # the sum of the shares does not overflow
        host.sum(shares := np.array([share]))
        if not shares[0]:
            raise ValueError("weight is 0 in all ranks: skip the update")
        total, exponent = math.frexp(shares[0])
        with self.layout.backend.device_of(arrays[0]):
            self._multiply(arrays, math.ldexp(share, -exponent - 1))
            carrier.sum(self.all)
            self._divide(arrays, total / 2)

    def _multiply(self, arrays: Sequence[Array], weight: float) -> None:
        """parts ← weight · arrays"""
        for part, array in zip(self.parts, arrays, strict=True):
            if weight:
                self.layout.backend.xp.multiply(array, weight, out=part)
            else:
                part[...] = 0  # the array may hold NaN, and 0 · NaN is NaN

    def _divide(self, arrays: Sequence[Array], total: float) -> None:
        """arrays ← parts / total; the largest numbers of the dtype stay finite."""
        overflows: list[str] = []
        with np.errstate(over="call", call=lambda kind, _: overflows.append(kind)):
            for part, array in zip(self.parts, arrays, strict=True):
                self.layout.backend.xp.divide(part, total, out=array)
        if overflows:  # the mean of the largest numbers was rounded up
            for part, array in zip(self.parts, arrays, strict=True):
                np.copyto(array, np.copysign(self._limits.max, part), where=np.isinf(array) & np.isfinite(part))


def _check_weight(weight: Any) -> None:
    check_number("weight", weight, "a finite number of at least 0", lambda weight: 0 <= weight < math.inf)


def _checked(arrays: Any) -> Backend:
    """The backend of the arrays.   Raises TypeError and ValueError."""
    if not isinstance(arrays, Sequence):
        raise TypeError(f"arrays is a {kind_of(arrays)}: expected a list of arrays, such as optimizer.grads")
    if not arrays:
        raise ValueError("arrays is empty: pass optimizer.grads")
    backend = check_float("arrays[0]", arrays[0])
    for i, array in enumerate(arrays):
        check_place(f"arrays[{i}]", array, backend, arrays[0].device, "arrays[0]")
        if array.dtype != arrays[0].dtype:
            raise TypeError(
                f"arrays[{i}] has dtype {array.dtype}, but arrays[0] has {arrays[0].dtype}: expected one dtype; "
                "call mean once for each"
            )
    return backend
