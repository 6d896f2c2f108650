"""RNN, LSTM and GRU: subclasses of PyTorch's modules whose `forward` runs on the kernels."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from xrnn.torch.forward import run
from xrnn.torch.methods import plain_copy
from xrnn.torch.weights import drop_wrapped


class KernelModule(nn.RNNBase):
    """The base class of all modules here: `forward`, and what PyTorch's conversions and torch.jit.script need."""

    _original: ClassVar[type[nn.RNNBase]]

    def forward(self, input: Any, hx: Any = None) -> Any:
        return run(self, self._original.forward, input, hx)

    def _apply(self, *arguments: Any, **options: Any) -> Any:
        drop_wrapped(self)
        return super()._apply(*arguments, **options)

    def __prepare_scriptable__(self) -> nn.RNNBase:
        return plain_copy(self, self._original)


class RNN(KernelModule, nn.RNN):
    """`torch.nn.RNN`, faster: the same arguments, parameters, state_dict and results."""

    _original = nn.RNN


class LSTM(KernelModule, nn.LSTM):
    """`torch.nn.LSTM`, faster: the same arguments, parameters, state_dict and results.

    A module with proj_size runs in PyTorch.
    """

    _original = nn.LSTM


class GRU(KernelModule, nn.GRU):
    """`torch.nn.GRU`, faster: the same arguments, parameters, state_dict and results."""

    _original = nn.GRU
