"""Sums and broadcasts between GPUs by NCCL, one process for each GPU. Nothing waits for the device."""

from __future__ import annotations

import importlib
from types import ModuleType

from xrnn.backend import BackendUnavailableError
from xrnn.install import install_hint
from xrnn.typing import Array


class NCCL:
    """The ranks of MPI, whose current devices NCCL connects. It works on the current stream.

    Raises BackendUnavailableError if NCCL is not installed.
    """

    def __init__(self, cupy: ModuleType, rank: int, size: int) -> None:
        if not importlib.import_module(f"{cupy.__name__}.cuda.nccl").available:
            raise BackendUnavailableError(
                f"NCCL is not installed: expected it to connect the GPUs of {size} ranks; {install_hint('nccl')}, "
                "or XRNN_BACKEND=numpy"
            )
        distributed = importlib.import_module({"cupy": "cupyx"}.get(cupy.__name__, cupy.__name__) + ".distributed")
        # MPI sends the id of the new communicator. Without mpi4py, use_mpi would be ignored; `xrnn.parallel` has it.
        self._nccl = distributed.NCCLBackend(size, rank, use_mpi=True)

    def sum(self, buffer: Array) -> None:
        """Replace the contiguous `buffer` by its sum over all ranks, with the same bits in each rank."""
        self._nccl.all_reduce(buffer, buffer, "sum")

    def broadcast(self, buffer: Array) -> None:
        """Replace the contiguous `buffer` by that of rank 0."""
        self._nccl.broadcast(buffer)
