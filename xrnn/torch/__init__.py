"""PyTorch's RNN, LSTM and GRU on xrnn's kernels, over shared memory: the same arguments, parameters and results.

    import xrnn.torch
    xrnn.torch.accelerate(model)                      # every nn.RNN, nn.LSTM and nn.GRU in an existing model
    layer = xrnn.torch.GRU(32, 64, num_layers=2)      # or in place of torch.nn.GRU

What the kernels can't do runs in PyTorch as before; the logger `xrnn.torch` says so, and why, at level DEBUG.
"""

from xrnn.interop.torch import import_torch as _import_torch

_import_torch("xrnn.torch")  # before the modules below import it

from xrnn.torch.accelerate import accelerate  # noqa: E402
from xrnn.torch.modules import GRU, LSTM, RNN  # noqa: E402

__all__ = ["GRU", "LSTM", "RNN", "accelerate"]
