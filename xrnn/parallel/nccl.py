"""GPUs by CuPy's interface: sums and broadcasts between devices by NCCL.

There is one process for each GPU. Nothing waits for the device.
"""

from __future__ import annotations

import importlib

from xrnn.backend import Backend, BackendUnavailableError
from xrnn.optional import install_hint
from xrnn.typing import Array


class NCCL:
    """The ranks of MPI, whose current devices NCCL connects. It works on the current stream.

    Raises BackendUnavailableError if NCCL is not installed, or cannot send the arrays of this backend.
    """

    def __init__(self, backend: Backend, rank: int, size: int) -> None:
        cupy = backend.xp.__name__
        try:
            available = importlib.import_module(f"{cupy}.cuda.nccl").available
        except ModuleNotFoundError as error:
            raise BackendUnavailableError(
                f"xrnn.parallel can't send arrays of the {backend.name} backend between {size} ranks: expected arrays "
                "in host memory or of CuPy; use XRNN_BACKEND=numpy"
            ) from error
        if not available:
            raise BackendUnavailableError(
                f"NCCL is not installed: expected it to connect the GPUs of {size} ranks; {install_hint('nccl')}, "
                "or XRNN_BACKEND=numpy"
            )
        distributed = importlib.import_module({"cupy": "cupyx"}.get(cupy, cupy) + ".distributed")
        # MPI sends the id of the new communicator. Without mpi4py, use_mpi would be ignored; `xrnn.parallel` has it.
        self._nccl = distributed.NCCLBackend(size, rank, use_mpi=True)

    def sum(self, buffer: Array) -> None:
        """Replace the contiguous `buffer` by its sum over all ranks, with the same bits in each rank."""
        self._nccl.all_reduce(buffer, buffer, "sum")

    def broadcast(self, buffer: Array) -> None:
        """Replace the contiguous `buffer` by that of rank 0."""
        self._nccl.broadcast(buffer)
