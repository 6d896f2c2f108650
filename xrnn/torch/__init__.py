"""PyTorch's RNN, LSTM and GRU on xrnn's kernels, over shared memory: the same arguments, parameters and results.

    import xrnn.torch
    xrnn.torch.accelerate(model)                      # every nn.RNN, nn.LSTM and nn.GRU in an existing model
    layer = xrnn.torch.GRU(32, 64, num_layers=2)      # or in place of torch.nn.GRU

What the kernels can't do runs in PyTorch as before; the logger `xrnn.torch` says so, and why, at level DEBUG.
"""

from xrnn.install import install_hint

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    if error.name != "torch":  # PyTorch is there, and broken: its own message says how
        raise
    raise ImportError(f"xrnn.torch needs PyTorch, which is not installed: {install_hint('torch')}") from error

from xrnn.torch.accelerate import accelerate
from xrnn.torch.modules import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "accelerate"]
