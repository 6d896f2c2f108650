"""Training by several ranks, as in `mpiexec -n 4 xrnn train`. Each computes its share; rank 0 prints and writes."""

from __future__ import annotations

import hashlib
import os
import platform

import numpy as np

from xrnn.backend import Backend
from xrnn.info import describe
from xrnn.models.errors import SettingsError
from xrnn.parallel import World
from xrnn.typing import HostArray


def share(comm: World, count: int) -> slice:
    """The part of `count` samples, or places in a text, that this rank computes."""
    return slice(comm.rank * count // comm.size, (comm.rank + 1) * count // comm.size)


def share_by_cost(comm: World, costs: HostArray) -> HostArray:
    """The indices of the samples that this rank computes, so that the sums of the costs of the ranks are similar.

    The most expensive sample goes first, each to the rank with the lowest sum so far   (Graham, 1969).
    """
    sums, rank_of = np.zeros(comm.size), np.zeros(len(costs), np.int64)
    for sample in np.argsort(-costs, kind="stable"):
        rank_of[sample] = sums.argmin()
        sums[rank_of[sample]] += costs[sample]
    return np.flatnonzero(rank_of == comm.rank)


def add_up(comm: World, array: HostArray) -> None:
    """array ← Σ array over all ranks, in place.   (n, ...)   If all ranks but one have 0, the sum is exact."""
    if parts := comm.gather(array):  # only rank 0 has them
        array[...] = sum(parts)
    comm.broadcast([array])


class AnyRank:
    """`any_rank(flag)`: whether `flag` is true in some rank. All ranks call it, and get the same answer."""

    def __init__(self, comm: World) -> None:
        self._flag = np.zeros(1)
        self._reduce = comm.reducer([self._flag])

    def __call__(self, flag: bool) -> bool:
        self._flag[0] = flag
        self._reduce([self._flag])
        return bool(self._flag[0])


def rank_lines(comm: World, backend: Backend) -> list[str]:
    """The table of `xrnn info`, in rank 0: the host, the device or the threads, and the CPUs of each rank."""
    facts = describe(backend)
    devices = [value for name, value in facts.items() if name.startswith("device ")]
    computes = devices[comm.local_rank % len(devices)] if devices else f"threads: {facts.get('threads', 'of BLAS')}"
    line = f"  {comm.rank}: {platform.node()}, {backend.name}, {computes}"
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
        line += f"; CPUs: {len(cpus)}, from {min(cpus)} to {max(cpus)}"
    parts = comm.gather(np.frombuffer(line.encode(), np.uint8))
    return [f"ranks: {comm.size}", *(part.tobytes().decode() for part in parts)]


def check_same(comm: World, **facts: object) -> None:
    """Raises SettingsError in all ranks if a fact, by its `repr`, differs between them."""
    if comm.size == 1:
        return
    digests = np.array([list(hashlib.sha256(repr(fact).encode()).digest()) for fact in facts.values()], np.uint8)
    of_rank_0 = digests.copy()
    comm.broadcast([of_rank_0])
    differs = (digests != of_rank_0).any(axis=1).astype(float)
    comm.mean([differs])
    if names := [name for name, found in zip(facts, differs, strict=True) if found]:
        raise SettingsError(
            f"the ranks differ in {', '.join(names)}: expected the same in all; start them by one command, on the same "
            "files"
        )
