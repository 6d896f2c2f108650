"""PyTorch's RNN, LSTM and GRU on xrnn's kernels, over shared memory: the same arguments, parameters and results.

    import xrnn.torch
    xrnn.torch.accelerate(model)                      # every nn.RNN, nn.LSTM and nn.GRU in an existing model
    xrnn.torch.explain(model)                         # for each of them: kernels, or PyTorch and why
    xrnn.torch.restore(model)                         # undo accelerate
    layer = xrnn.torch.GRU(32, 64, num_layers=2)      # or in place of torch.nn.GRU
    layer = xrnn.torch.MinGRU(32, 64)                 # or MinLSTM, SLSTM, LRU: PyTorch has none of them
    y = xrnn.torch.selective_scan_fn(u, delta, A, B, C)   # as in mamba_ssm, on a CPU
    out, state = xrnn.torch.chunk_retention(q, k, v)      # as in flash-linear-attention, on a CPU

Calls that the kernels do not support run in PyTorch as before; the logger `xrnn.torch` warns once of each reason.
"""

from xrnn.exchange.torch import import_torch as _import_torch

_import_torch("xrnn.torch")  # first: without PyTorch the imports below would fail with a less helpful error

from xrnn.torch.accelerate import accelerate, explain, restore  # noqa: E402
from xrnn.torch.modules import GRU, LSTM, RNN  # noqa: E402
from xrnn.torch.not_in_pytorch import LRU, SLSTM, MinGRU, MinLSTM  # noqa: E402
from xrnn.torch.retention import chunk_retention, fused_recurrent_retention  # noqa: E402
from xrnn.torch.selective_scan import (  # noqa: E402
    causal_conv1d_fn,
    mamba_chunk_scan_combined,
    selective_scan_fn,
    selective_state_update,
)

__all__ = [
    "GRU",
    "LRU",
    "LSTM",
    "RNN",
    "SLSTM",
    "MinGRU",
    "MinLSTM",
    "accelerate",
    "causal_conv1d_fn",
    "chunk_retention",
    "explain",
    "fused_recurrent_retention",
    "mamba_chunk_scan_combined",
    "restore",
    "selective_scan_fn",
    "selective_state_update",
]
