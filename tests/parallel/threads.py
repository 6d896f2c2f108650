"""Ranks that are threads of this process: fast, and without MPI."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from xrnn.typing import HostArray

T = TypeVar("T")


class Group:
    """Exchanges values between the threads.

    calls      the record of the stand-in for NCCL: (rank, call, stream)
    messages   the number of exchanges
    """

    def __init__(self, size: int) -> None:
        self.size, self.calls, self.messages = size, list[tuple[int, str, Any]](), 0
        self._values: list[Any] = [None] * size
        self._barrier = threading.Barrier(size)

    def exchange(self, rank: int, value: T) -> list[T]:
        """The values of all ranks. Each rank must call it."""
        self._values[rank] = value
        self.messages += rank == 0
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values

    def run(self, work: Callable[[ThreadRanks], T]) -> list[T]:
        """The results of `work` in each rank.   Raises the error of a rank that fails."""

        def checked(rank: int) -> T:
            try:
                return work(ThreadRanks(self, rank))
            except BaseException:
                self._barrier.abort()  # the others wait there
                raise

        with ThreadPoolExecutor(self.size) as pool:
            futures = [pool.submit(checked, rank) for rank in range(self.size)]
        errors = [error for future in futures if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
            raise error
        return [future.result() for future in futures]


class ThreadRanks:
    """What `xrnn.parallel.mpi.Ranks` does, between threads."""

    def __init__(self, group: Group, rank: int) -> None:
        self._group = group
        self.rank = self.local_rank = rank
        self.size = group.size

    def sum(self, buffer: HostArray) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # MPI does not warn
            buffer[...] = sum(self._group.exchange(self.rank, buffer.copy()))

    def broadcast(self, buffer: HostArray) -> None:
        buffer[...] = self._group.exchange(self.rank, buffer.copy())[0]

    def gather(self, parts: HostArray) -> list[HostArray]:
        everyone = self._group.exchange(self.rank, parts.copy())
        return [] if self.rank else everyone

    def texts(self, call: str, text: str) -> list[tuple[str, str]]:
        return self._group.exchange(self.rank, (call, text))

    def channel(self, name: str) -> ThreadRanks:
        return self
