"""The ranks of a run, connected by MPI: messages of NumPy arrays, and an error if the ranks don't fit together."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

import numpy as np

from xrnn.parallel.launcher import timeout, use_share_of_cpus
from xrnn.typing import HostArray

# The launcher forwards what a rank has printed; after an abort it may drop the rest.
_SECONDS_TO_FORWARD: Final = 0.2
_LONGEST: Final = 256  # bytes of a text that ranks exchange
_SECONDS_BETWEEN_CHECKS: Final = 0.1
_SECONDS_BEFORE_NOTE: Final = 0.5  # in an operation, before rank 0 is told: most waits are shorter
_END: Final = "the end of its script"


class Channel:
    """A communicator for sums alone: that of `World.mean`, or that of one reducer."""

    def __init__(self, ranks: Ranks, comm: Any, name: str) -> None:
        self._ranks, self._comm, self._name = ranks, comm, name

    def sum(self, buffer: HostArray) -> None:
        """Replace the contiguous `buffer` by its sum over all ranks, with the same bits in each rank."""
        with self._ranks.watched(self._name):
            self._comm.Allreduce(self._ranks.MPI.IN_PLACE, buffer)


class Ranks:
    """The ranks of MPI. All of them must make the same calls in the same order.

    A call other than a reducer's begins with `texts`, which compares the calls. A reducer's message has a communicator
    of its own, so a rank that makes another call waits in a different operation. A thread of each rank notices a wait
    and tells rank 0, which compares the operations that have the same number.

    rank, size   the number of this rank, and the number of ranks
    local_rank   the number of this rank among those of its host
    """

    def __init__(self, MPI: Any) -> None:
        self.MPI = MPI
        self._comm = MPI.COMM_WORLD.Dup()  # separate from messages of the script
        local = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self.local_rank = local.Get_rank()
        self.sum = Channel(self, self._comm, "mean").sum
        self._operations = 0  # operations started, including the current one
        self._waiting: tuple[int, str, float] | None = None  # the operation that waits: its number, name, and start
        self._ended = threading.Event()
        self._process = os.getpid()
        self._timeout = timeout()
        # Without support for threads, only a timeout ends ranks that wait for each other in different operations.
        notes = _Notes(self._comm.Dup()) if MPI.Query_thread() == MPI.THREAD_MULTIPLE else None
        self._watcher = threading.Thread(target=self._watch, args=(notes,), daemon=True)
        self._watcher.start()
        atexit.register(self._leave)
        self._leave_before_os_exit()
        use_share_of_cpus(local, MPI.IN_PLACE)

    def channel(self, name: str) -> Channel:
        """A connection for one reducer alone. All ranks call this together."""
        return Channel(self, self._comm.Dup(), name)

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

    @contextlib.contextmanager
    def watched(self, operation: str) -> Iterator[None]:
        """Within the block, this rank waits for the others in `operation`."""
        self._operations += 1
        self._waiting = self._operations, operation, time.monotonic()
        try:
            yield
        finally:
            self._waiting = None

    def _watch(self, notes: _Notes | None) -> None:
        told = 0
        while not self._ended.wait(_SECONDS_BETWEEN_CHECKS) and not self.MPI.Is_finalized():  # by the script
            number, operation, since = self._waiting or (0, "", time.monotonic())
            waited = time.monotonic() - since
            if notes and number > told and waited > _SECONDS_BEFORE_NOTE:
                told = number
                notes.tell(number, operation)
            if notes and self.rank == 0 and (message := notes.different()):
                self._end_all(message)
            if self._timeout and operation != _END and waited > self._timeout:
                self._end_all(
                    f"rank {self.rank} waited {self._timeout:g} s for the other ranks in {operation} "
                    "(XRNN_PARALLEL_TIMEOUT): expected all ranks to make the same calls; look for a stopped rank"
                )

    def _end_all(self, message: str = "") -> None:
        self._ended.set()  # `Abort` may return before the launcher ends this rank
        if message:
            print(f"error: {message}", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        time.sleep(_SECONDS_TO_FORWARD)
        self.MPI.COMM_WORLD.Abort(1)

    def _leave_before_os_exit(self) -> None:
        """A launcher kills the ranks that remain after one that ended by `os._exit(0)`, and reports success."""
        end = os._exit

        def leave(status: int) -> NoReturn:
            if os.getpid() == self._process:
                if self._waiting:  # another thread ends the process
                    self._end_all(f"rank {self.rank} ended by os._exit in {self._waiting[1]}: expected it to wait")
                self._leave()
                self.MPI.Is_finalized() or self.MPI.Finalize()
            end(status)

        os._exit = leave

    def _leave(self) -> None:
        """Wait until all ranks end.   If another one makes a call instead, end all with an error."""
        if self._ended.is_set() or os.getpid() != self._process or self.MPI.Is_finalized():
            return
        if hasattr(sys, "last_type"):  # an uncaught exception, whose traceback was printed
            self._end_all()
        calls = {rank: call for rank, (call, _) in enumerate(self.texts(_END, ""))}
        self._ended.set()
        if message := different_calls(calls):
            self._end_all(message)
        self._watcher.join()


class _Notes:
    """Notes to rank 0: the number and the name of the operation in which a rank waits.   comm: for notes alone"""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._rank = comm.Get_rank()
        self._last: dict[int, tuple[int, str]] = {}  # in rank 0: the last note of each rank
        self._sent: Any = None

    def tell(self, number: int, operation: str) -> None:
        if self._rank == 0:
            self._last[0] = number, operation
        elif self._sent is None or self._sent[0].Test():  # otherwise, rank 0 has stopped
            row = _row(f"{self._rank} {number} {operation}")
            self._sent = self._comm.Isend(row, 0), row

    def different(self) -> str:
        """In rank 0: the error, if two ranks wait in different operations of the same number; "" if not."""
        row = np.empty(_LONGEST, np.uint8)
        while self._comm.Iprobe():
            self._comm.Recv(row)
            rank, number, operation = _text(row).split(" ", 2)
            self._last[int(rank)] = int(number), operation
        newest = max((number for number, _ in self._last.values()), default=0)
        return different_calls({rank: call for rank, (number, call) in sorted(self._last.items()) if number == newest})


def different_calls(calls: Mapping[int, str]) -> str:
    """The error for ranks that have reached these calls; "" if all calls are the same."""
    for rank, call in calls.items():
        if call != calls[first := next(iter(calls))]:
            return (
                f"the ranks make different calls: rank {first} has reached {calls[first]}, rank {rank} has reached "
                f"{call}: expected the same calls in the same order in all ranks"
            )
    return ""


def _row(text: str) -> HostArray:
    return np.frombuffer(text.encode()[:_LONGEST].ljust(_LONGEST, b"\0"), np.uint8)


def _text(row: HostArray) -> str:
    return row.tobytes().decode(errors="replace").rstrip("\0")
