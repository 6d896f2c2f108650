"""`cupyx.distributed.NCCLBackend`: the ranks are threads of this process, connected by `group`."""

from __future__ import annotations

from typing import Any

from tests.parallel.threads import Group
from tests.standin import _device, cuda
from tests.standin._memory import DeviceMemory

group = Group(1)  # a test sets another


class NCCLBackend:
    def __init__(
        self, n_devices: int, rank: int, host: str = "127.0.0.1", port: int = 13333, use_mpi: bool = False
    ) -> None:
        if not use_mpi:
            raise AssertionError("NCCLBackend without use_mpi=True would take its TCP store")
        if n_devices != group.size or len(set(group.exchange(rank, cuda.Device()))) < n_devices:
            raise RuntimeError("NCCL_ERROR_INVALID_USAGE: expected one device for each rank")
        self._rank = rank

    def all_reduce(self, in_array: Any, out_array: Any, op: str = "sum", stream: Any = None) -> None:
        assert op == "sum"
        out_array._host[...] = sum(self._exchange("all_reduce", in_array, stream))

    def broadcast(self, in_out_array: Any, root: int = 0, stream: Any = None) -> None:
        in_out_array._host[...] = self._exchange("broadcast", in_out_array, stream)[root]

    def _exchange(self, call: str, array: Any, stream: Any) -> list[Any]:
        if not isinstance(array, DeviceMemory):
            raise AttributeError(f"{type(array)} has no attribute 'ptr'")
        if not (array._host.flags.c_contiguous or array._host.flags.f_contiguous):
            raise RuntimeError("NCCL requires arrays to be either c- or f-contiguous")
        _device.launch("kernels", array.device)
        group.calls.append((self._rank, call, stream or cuda.get_current_stream()))
        return group.exchange(self._rank, array._host.copy())
