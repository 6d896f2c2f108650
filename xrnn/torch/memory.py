"""Arrays that view tensors, and tensors that view arrays, without copies: NumPy on the CPU, CuPy on a GPU."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from xrnn.arrays.select import get_backend
from xrnn.backend import Backend, BackendUnavailableError, use_fused
from xrnn.exchange.torch_weights import CELLS
from xrnn.info import explain
from xrnn.torch.threads import share_threads
from xrnn.torch.unsupported import Unsupported
from xrnn.typing import Array


class Memory(Protocol):
    """The memory of a device, and the backend that computes there."""

    backend: Backend

    def array(self, tensor: Tensor) -> Array: ...  # a view
    def weight(self, tensor: Tensor) -> Array: ...  # a view that may outlive a call
    def tensor(self, array: Array) -> Tensor: ...  # a view
    def entered(self) -> AbstractContextManager[object]: ...  # the context in which the backend runs


class Host:
    """The CPU's memory."""

    _nothing: Final = nullcontext()

    def __init__(self) -> None:
        self.backend = get_backend("numpy")
        with use_fused(True):
            form = explain(self.backend, "recurrence_forward", CELLS["LSTM"], dict.fromkeys("TNDH", 1), "float32")
        if form.form == "plain":
            raise BackendUnavailableError(form.why)
        share_threads()

    tensor = staticmethod(torch.from_numpy)

    def array(self, tensor: Tensor) -> Array:
        return (tensor.detach() if tensor.requires_grad else tensor).numpy()

    def weight(self, tensor: Tensor) -> Array:
        # Tensor.numpy is faster, but a tensor's storage can't be resized after it, and FSDP resizes weights.
        return self.backend.xp.from_dlpack(tensor)

    def entered(self) -> AbstractContextManager[object]:
        # A new Python thread starts with OpenMP's default number of threads. This call sets PyTorch's number.
        torch.get_num_threads()
        return self._nothing


class Cuda:
    """A GPU's memory. CuPy computes on PyTorch's current stream, so no synchronization is needed."""

    def __init__(self, device: torch.device) -> None:
        self.backend = get_backend("cupy")
        self._device = device

    tensor = staticmethod(torch.from_dlpack)

    def array(self, tensor: Tensor) -> Array:
        return self.backend.xp.from_dlpack(tensor.detach())

    weight = array

    def entered(self) -> AbstractContextManager[object]:
        cuda: Any = self.backend.xp.cuda
        stream = torch.cuda.current_stream(self._device).cuda_stream
        return cuda.ExternalStream(stream, self._device.index)


@functools.cache
def _memory(device: torch.device) -> Memory | str:
    """The memory of a device, or the reason why no backend computes there."""
    try:
        if device.type == "cpu":
            return Host()
        if device.type == "cuda":
            return Cuda(device)
    except BackendUnavailableError as error:
        return str(error)
    return f"xrnn has no backend for the device {device}"


def memory_of(device: torch.device) -> Memory:
    """Raises Unsupported if no backend computes on this device."""
    memory = _memory(device)
    if isinstance(memory, str):
        raise Unsupported(memory)
    return memory
