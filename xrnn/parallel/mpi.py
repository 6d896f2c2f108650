"""The ranks of a run, connected by MPI: messages of NumPy arrays, and the end of all ranks after an error."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn

import numpy as np

from xrnn.optional import install_hint
from xrnn.parallel.launcher import launcher
from xrnn.typing import HostArray

# The launcher forwards what a rank has printed; after an abort it may drop the rest.
_SECONDS_TO_FORWARD: Final = 0.2
_LONGEST: Final = 256  # bytes of a text that ranks exchange
_SECONDS_BETWEEN_CHECKS: Final = 0.1
_SECONDS_BEFORE_NOTE: Final = 0.5  # in an operation, before rank 0 is told: most waits are shorter
_END: Final = "the end of its script"
_CPUS: Final = 4096
# If all ranks have the same error, rank 0 prints it and ends the others while they wait for this time.
_SECONDS_AFTER_RANK_0: Final = 1.0


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

    A call other than a reducer's begins with `texts`, which compares the calls. A reducer's message has a communicator
    of its own, so a rank that makes another call waits in a different operation. A thread of each rank notices a wait
    and tells rank 0, which compares the operations that have the same number.

    rank, size   the number of this rank, and the number of ranks
    local_rank   the number of this rank among those of its host
    """

    def __init__(self, MPI: Any) -> None:
        self._mpi = MPI
        self._comm = MPI.COMM_WORLD.Dup()  # separate from messages of the script
        local = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.local_rank = local.Get_rank()
        self._operations = 0  # operations started, including the current one
        self._waiting: tuple[int, str, float] | None = None  # the operation that waits: its number, name, and start
        self._ended = threading.Event()
        self._process = os.getpid()
        timeout = _timeout()
        self._end_all_after_errors()
        self._end_with_all()
        # Without support for threads, only a timeout ends ranks that wait for each other in different operations.
        notes = _Notes(self._comm.Dup(), MPI.Status()) if MPI.Query_thread() == MPI.THREAD_MULTIPLE else None
        self._watcher = threading.Thread(target=self._watch, args=(timeout, notes), daemon=True)
        self._watcher.start()
        _use_share_of_cpus(local, MPI.IN_PLACE)

    def channel(self, name: str) -> Channel:
        """A connection for one reducer alone. All ranks call this together."""
        return Channel(self, self._comm.Dup(), name)

    def sum(self, buffer: HostArray) -> None:
        """Replace the contiguous `buffer` by its sum over all ranks, with the same bits in each rank."""
        with self.watched("mean"):
            self._comm.Allreduce(self._mpi.IN_PLACE, buffer)

    def broadcast(self, buffer: HostArray) -> None:
        """Replace the contiguous `buffer` by that of rank 0."""
        with self.watched("broadcast"):
            self._comm.Bcast(buffer.view(np.uint8))

    def gather(self, parts: HostArray) -> list[HostArray]:
        """The uint8 vectors of all ranks; rank 0 gets them, the others an empty list."""
        with self.watched("gather"):
            counts = np.zeros(self.size, np.int64)
            self._comm.Allgather(np.array([parts.size]), counts)
            all_parts = np.empty(counts.sum() if self.rank == 0 else 0, np.uint8)
            self._comm.Gatherv(parts, [all_parts, counts] if self.rank == 0 else None)
        return np.split(all_parts, counts.cumsum()[:-1]) if self.rank == 0 else []

    def texts(self, call: str, text: str) -> list[list[str]]:
        """The calls and the texts of all ranks, together cut to 256 bytes."""
        everyone = np.empty((self.size, _LONGEST), np.uint8)
        with self.watched(call):
            self._comm.Allgather(_row(f"{call}\n{text}"), everyone)
        return [_text(row).split("\n", 1) for row in everyone]

    def abort(self, status: int) -> None:
        """End all ranks with this exit status."""
        self._ended.set()  # `Abort` may return before the launcher ends this rank
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        time.sleep(_SECONDS_TO_FORWARD)
        self._mpi.COMM_WORLD.Abort(status)

    @contextlib.contextmanager
    def watched(self, operation: str) -> Iterator[None]:
        """Within the block, this rank waits for the others in `operation`."""
        self._operations += 1
        self._waiting = self._operations, operation, time.monotonic()
        try:
            yield
        finally:
            self._waiting = None

    def _watch(self, timeout: float, notes: _Notes | None) -> None:
        told = 0
        while not self._ended.wait(_SECONDS_BETWEEN_CHECKS):
            if self._mpi.Is_finalized():  # by the script
                return
            waiting = self._waiting
            if notes and waiting and waiting[0] > told and time.monotonic() - waiting[2] > _SECONDS_BEFORE_NOTE:
                told = waiting[0]
                notes.tell(told, waiting[1])
            if notes and self.rank == 0 and (message := notes.different()):
                self._fail(message)
            if timeout and waiting and waiting[1] != _END and time.monotonic() - waiting[2] > timeout:
                self._fail(
                    f"rank {self.rank} waited {timeout:g} s for the other ranks in {waiting[1]} "
                    "(XRNN_PARALLEL_TIMEOUT): expected all ranks to make the same calls; look for a stopped rank"
                )

    def _fail(self, message: str) -> None:
        print(f"error: {message}", file=sys.stderr)
        self.abort(1)

    def _end_all_after_errors(self) -> None:
        """After an uncaught exception in one rank, the others would wait for it without end."""
        report = sys.excepthook

        def end(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
            if self.rank:
                time.sleep(_SECONDS_AFTER_RANK_0)
            print(f"rank {self.rank} of {self.size} failed:", file=sys.stderr)
            report(kind, error, at)
            self.abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

        sys.excepthook = end

    def _end_with_all(self) -> None:
        """At the end of its script, a rank waits for the others to end too.

        A launcher kills the ranks that remain after one that ended by `os._exit(0)`, and reports success.
        """
        atexit.register(self._leave)
        end = os._exit

        def leave(status: int) -> NoReturn:
            if os.getpid() == self._process:
                if waiting := self._waiting:  # another thread ends the process
                    self._fail(
                        f"rank {self.rank} ended by os._exit in {waiting[1]}: expected it to wait for the others"
                    )
                self._leave()
                self._mpi.Is_finalized() or self._mpi.Finalize()
            end(status)

        os._exit = leave

    def _leave(self) -> None:
        """Wait until all ranks end.   If another one makes a call instead, end all with an error."""
        if self._ended.is_set() or os.getpid() != self._process or self._mpi.Is_finalized():
            return
        calls = [call for call, _ in self.texts(_END, "")]
        self._ended.set()
        if message := different_calls(calls):
            if self.rank:
                time.sleep(_SECONDS_AFTER_RANK_0)  # for the traceback of rank 0
            self._fail(message)
        self._watcher.join()


class Channel:
    """The connection of one reducer, on a communicator of its own."""

    def __init__(self, ranks: Ranks, comm: Any, name: str) -> None:
        self._ranks, self._comm, self._name = ranks, comm, name
        self._in_place = ranks._mpi.IN_PLACE

    def sum(self, buffer: HostArray) -> None:
        """As `Ranks.sum`."""
        with self._ranks.watched(self._name):
            self._comm.Allreduce(self._in_place, buffer)


class _Notes:
    """Notes to rank 0: the number and the name of the operation in which a rank waits."""

    def __init__(self, comm: Any, status: Any) -> None:
        """comm: a communicator for the notes; status: room for the sender of one."""
        self._comm, self._rank, self._status = comm, comm.Get_rank(), status
        self._last: dict[int, tuple[int, str]] = {}  # in rank 0: the last note of each rank
        self._sent: Any = None

    def tell(self, number: int, operation: str) -> None:
        if self._rank == 0:
            self._last[0] = number, operation
        elif self._sent is None or self._sent[0].Test():  # otherwise, rank 0 has stopped
            row = _row(f"{number} {operation}")
            self._sent = self._comm.Isend(row, 0), row

    def different(self) -> str:
        """In rank 0: the error, if two ranks wait in different operations of the same number; "" if not."""
        row = np.empty(_LONGEST, np.uint8)
        while self._comm.Iprobe(status=self._status):
            source = self._status.Get_source()
            self._comm.Recv(row, source)
            number, operation = _text(row).split(" ", 1)
            self._last[source] = int(number), operation
        newest = max((number for number, _ in self._last.values()), default=0)
        of_rank = {rank: call for rank, (number, call) in sorted(self._last.items()) if number == newest}
        return different_calls(list(of_rank.values()), list(of_rank))


def different_calls(calls: Sequence[str], ranks: Sequence[int] | None = None) -> str:
    """The error for ranks that have reached these calls; "" if all calls are the same.   ranks: by default, all."""
    ranks = ranks or range(len(calls))
    for rank, call in zip(ranks, calls, strict=True):
        if call != calls[0]:
            return (
                f"the ranks make different calls: rank {ranks[0]} has reached {calls[0]}, rank {rank} has reached "
                f"{call}: expected the same calls in the same order in all ranks"
            )
    return ""


def _row(text: str) -> HostArray:
    """The text as a row of 256 bytes."""
    return np.frombuffer(text.encode()[:_LONGEST].ljust(_LONGEST, b"\0"), np.uint8)


def _text(row: HostArray) -> str:
    return row.tobytes().decode(errors="replace").rstrip("\0")


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
