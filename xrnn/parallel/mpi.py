"""The ranks of a run, connected by MPI: messages of NumPy arrays, and the end of all ranks after an error."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

import numpy as np

from xrnn.install import install_hint
from xrnn.parallel.launcher import launcher
from xrnn.typing import HostArray

# The launcher forwards what a rank has printed; after an abort it may drop the rest.
_SECONDS_TO_FORWARD: Final = 0.2
_LONGEST: Final = 256  # bytes of a text that ranks exchange
_CPUS: Final = 4096
# If all ranks have the same error, rank 0 prints it and ends the others while they wait for this time.
SECONDS_AFTER_RANK_0: Final = 1.0


class ParallelError(RuntimeError):
    """The ranks can't work together. The message names the cause and the remedy."""


def connect() -> Ranks | None:
    """The ranks that the launcher started; None if this process is the only one.   Raises ParallelError."""
    name, size = launcher()
    if size == 1 and "mpi4py.MPI" not in sys.modules:
        return None
    if name == "torchrun":
        raise ParallelError(
            f"torchrun started {size} processes, which xrnn.parallel can't connect: expected mpiexec or srun; use "
            "xrnn.torch with DistributedDataParallel, or start with mpiexec"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a launcher of another MPI, which is an error below
            MPI = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py found no MPI library
        raise ParallelError(
            f"{name} started {size} processes, but mpi4py does not work ({str(error).splitlines()[0]}): expected it to "
            f"connect them; {install_hint('mpi')}, or start one process"
        ) from error
    found = MPI.COMM_WORLD.Get_size()
    if found < size:
        raise ParallelError(
            f"{name} started {size} processes, but mpi4py connects {found}: expected one MPI for both; install mpi4py "
            "for the MPI of the launcher, or use the mpiexec beside this Python"
        )
    return Ranks(MPI) if found > 1 else None


class Ranks:
    """The ranks of MPI. All of them must make the same calls in the same order.

    rank, size   the number of this rank, and the number of ranks
    local_rank   the number of this rank among those of its host
    """

    def __init__(self, MPI: Any) -> None:
        self._in_place, self._all = MPI.IN_PLACE, MPI.COMM_WORLD
        self._comm = self._all.Dup()  # separate from messages of the script
        local = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.local_rank = local.Get_rank()
        self._waiting: tuple[str, float] | None = None  # the operation that waits, and since when
        self._end_all_after_errors()
        if timeout := _timeout():
            threading.Thread(target=self._watch, args=(timeout,), daemon=True).start()
        _use_share_of_cpus(local, MPI.IN_PLACE)

    def sum(self, buffer: HostArray) -> None:
        """Replace the contiguous `buffer` by its sum over all ranks, with the same bits in each rank."""
        with self._watched("mean"):
            self._comm.Allreduce(self._in_place, buffer)

    def broadcast(self, buffer: HostArray) -> None:
        """Replace the contiguous `buffer` by that of rank 0."""
        with self._watched("broadcast"):
            self._comm.Bcast(buffer.view(np.uint8))

    def gather(self, parts: HostArray) -> list[HostArray]:
        """The uint8 vectors of all ranks; rank 0 gets them, the others an empty list."""
        with self._watched("gather"):
            counts = np.zeros(self.size, np.int64)
            self._comm.Allgather(np.array([parts.size]), counts)
            all_parts = np.empty(counts.sum() if self.rank == 0 else 0, np.uint8)
            self._comm.Gatherv(parts, [all_parts, counts] if self.rank == 0 else None)
        return np.split(all_parts, counts.cumsum()[:-1]) if self.rank == 0 else []

    def texts(self, text: str) -> list[str]:
        """The texts of all ranks, cut to 256 bytes."""
        mine = np.frombuffer(text.encode()[:_LONGEST].ljust(_LONGEST), np.uint8)
        everyone = np.empty((self.size, _LONGEST), np.uint8)
        with self._watched("comparison of the arguments"):
            self._comm.Allgather(mine, everyone)
        return [row.tobytes().decode(errors="replace").rstrip() for row in everyone]

    def barrier(self) -> None:
        """Wait for all ranks."""
        with self._watched("barrier"):
            self._comm.Barrier()

    def abort(self, status: int) -> None:
        """End all ranks with this exit status."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        time.sleep(_SECONDS_TO_FORWARD)
        self._all.Abort(status)

    @contextlib.contextmanager
    def _watched(self, operation: str) -> Iterator[None]:
        self._waiting = operation, time.monotonic()
        try:
            yield
        finally:
            self._waiting = None

    def _watch(self, timeout: float) -> None:
        while True:
            time.sleep(min(timeout / 4, 1.0))
            if (waiting := self._waiting) and time.monotonic() - waiting[1] > timeout:
                print(
                    f"error: rank {self.rank} waited {timeout:g} s for the other ranks in {waiting[0]} "
                    "(XRNN_PARALLEL_TIMEOUT): expected all ranks to make the same calls; look for a stopped rank",
                    file=sys.stderr,
                )
                self.abort(1)

    def _end_all_after_errors(self) -> None:
        """After an uncaught exception in one rank, the others would wait for it without end."""
        report = sys.excepthook

        def end(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
            if self.rank:
                time.sleep(SECONDS_AFTER_RANK_0)
            print(f"rank {self.rank} of {self.size} failed:", file=sys.stderr)
            report(kind, error, at)
            self.abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

        sys.excepthook = end


def _timeout() -> float:
    """XRNN_PARALLEL_TIMEOUT in seconds; 0 to wait without end.   Raises ParallelError."""
    given = os.environ.get("XRNN_PARALLEL_TIMEOUT", "").strip() or "0"
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(given)) < math.inf:
            return seconds
    raise ParallelError(f"XRNN_PARALLEL_TIMEOUT is {given!r}: expected seconds, such as 60, or 0 to wait without end")


def _use_share_of_cpus(local: Any, in_place: Any) -> None:
    """Divide the CPUs of this host among its ranks, unless the launcher has done it.   local: the ranks of this host.

    Without this, each rank would start a thread for every CPU.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cpus = sorted(os.sched_getaffinity(0))
    users = np.zeros(_CPUS, np.int32)  # the number of ranks that may run on each CPU
    users[cpus] = 1
    local.Allreduce(in_place, users)
    rank, size = local.Get_rank(), local.Get_size()
    if size > 1 and (users[cpus] == size).all():
        first = rank * len(cpus) // size
        cpus = cpus[first : max(first + 1, (rank + 1) * len(cpus) // size)]
        os.sched_setaffinity(0, cpus)
    if "OMP_NUM_THREADS" not in os.environ:
        with contextlib.suppress(ImportError):
            importlib.import_module("threadpoolctl").threadpool_limits(len(cpus), "blas")
