"""MinGRU and MinLSTM, which PyTorch does not have."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from xrnn.exchange.torch_weights import CELLS
from xrnn.ops.cells.minimal import Candidate, MinGRUCell
from xrnn.select import kind_of
from xrnn.torch.forward import PYTORCH_FORWARDS, run
from xrnn.torch.modules import KernelModule
from xrnn.torch.original import minimal


class _MinimalModule(KernelModule):
    """A module whose gates do not depend on h.

    Its weight_hh and bias_hh have no elements. They are buffers, because `clip_grad_norm_` and `torch.autograd.grad`
    refuse some parameters without elements or gradients. The state_dict has the same keys as that of a GRU.
    Calls that the kernels do not support run in PyTorch's operations.
    """

    _mode: ClassVar[str]  # with the candidate "linear"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        candidate: Candidate = "linear",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        MinGRUCell(candidate)  # raises ValueError for an unknown candidate
        sizes = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("RNN_TANH", *sizes, device=device, dtype=dtype)
        self.candidate: Candidate = candidate
        self.mode = self._mode if candidate == "linear" else f"{self._mode}_POSITIVE"
        of_x = len(CELLS[self.mode].from_x) * hidden_size
        for name in self._flat_weights_names:
            like = getattr(self, name)
            if "_ih_" in name:
                setattr(self, name, nn.Parameter(like.new_empty((of_x, *like.shape[1:]))))
            else:
                delattr(self, name)
                self.register_buffer(name, torch.empty_like(like[:0], requires_grad=False))
        self._init_flat_weights()
        self.reset_parameters()

    def forward(self, input: Any, hx: Any = None) -> Any:
        return run(self, in_pytorch, input, hx)

    def extra_repr(self) -> str:
        sizes: str = super().extra_repr()
        return f"{sizes}, candidate={self.candidate!r}" if self.candidate != "linear" else sizes

    def __prepare_scriptable__(self) -> nn.RNNBase:
        raise RuntimeError(
            f"torch.jit.script got an xrnn.torch.{type(self).__name__}: expected a module that PyTorch has too; use "
            "torch.export"
        )


def in_pytorch(module: Any, input: Any, hx: Any) -> Any:
    """The call in PyTorch's operations.

    Raises ValueError for an input or initial states of another shape; TypeError if hx is not a tensor of that dtype.
    """
    packed, x, lengths = isinstance(input, PackedSequence), input, None
    if packed:
        x, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes))
    batch_first, one_row = module.batch_first and not packed, x.dim() == 2
    if x.dim() not in (2, 3) or x.shape[-1] != module.input_size or not x.shape[batch_first and not one_row]:
        axes = "batch, time" if batch_first else "time, batch"
        raise ValueError(
            f"the input has the shape {tuple(x.shape)}: expected ({axes}, {module.input_size}), or "
            f"(time, {module.input_size}), with at least one step"
        )
    if one_row:
        x = x.unsqueeze(1)
    elif batch_first:
        x = x.transpose(0, 1)
    ways, final = 2 if module.bidirectional else 1, []
    if hx is not None:
        rows = () if one_row else x.shape[1:2]
        _check_state(hx, (module.num_layers * ways, *rows, module.hidden_size), x)
        if one_row:
            hx = hx.unsqueeze(1)
        elif packed and input.sorted_indices is not None:
            hx = hx[:, input.sorted_indices]
    for layer in range(module.num_layers):
        results = []
        for k in range(layer * ways, (layer + 1) * ways):
            weights = [getattr(module, name) for name in module._all_weights[k]]
            initial = x.new_zeros((x.shape[1], module.hidden_size)) if hx is None else hx[k]
            h, last = minimal(module.mode, x, initial, weights, lengths, reverse=k % ways == 1)
            results.append(h)
            final.append(last)
        x = torch.cat(results, dim=2)
        if module.dropout and module.training and layer + 1 < module.num_layers:
            x = nn.functional.dropout(x, module.dropout)
    states = torch.stack(final)
    if packed:
        data = pack_padded_sequence(x, lengths).data
        if input.unsorted_indices is not None:
            states = states[:, input.unsorted_indices]
        return PackedSequence(data, *input[1:]), states
    if one_row:
        return x.squeeze(1), states.squeeze(1)
    return x.transpose(0, 1) if module.batch_first else x, states


def _check_state(hx: Any, shape: tuple[int, ...], x: Tensor) -> None:
    """Raises TypeError unless hx is a tensor of the dtype of x, or autocast is on; ValueError for another shape."""
    if not isinstance(hx, Tensor):
        raise TypeError(f"hx is a {kind_of(hx)}: expected a tensor of shape {shape}")
    if hx.shape != shape:
        raise ValueError(f"hx has the shape {tuple(hx.shape)}: expected {shape}, as in torch.nn.GRU")
    if hx.dtype is not x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"hx is {hx.dtype}, the input {x.dtype}: expected one dtype; use hx.to(input.dtype)")


PYTORCH_FORWARDS.add(in_pytorch)


class MinGRU(_MinimalModule):
    """A minimal GRU (Feng et al., 2024), which PyTorch does not have: u = σ(z₀);  h' = h + u · (g(z₁) - h).

    Arguments, shapes, hidden state, initial values and results are those of `torch.nn.GRU`, with `batch_first` and
    packed sequences. weight_ih has the blocks u and g; weight_hh and bias_hh are buffers without
    elements. Wrong arguments raise TypeError or ValueError.

    candidate   "linear": g(v) = v. "positive": g(v) = v + 1/2 for v ≥ 0, otherwise σ(v), as in the paper. It is not in
                the state_dict, so that a module loads the weights of one with another candidate
    """

    _mode = "MIN_GRU"


class MinLSTM(_MinimalModule):
    """A minimal LSTM (Feng et al., 2024): f, i = σ(z₀, z₁);  h' = (f · h + i · g(z₂)) / (f + i).

    It has one hidden state, h. All else is as in `MinGRU`; weight_ih has the blocks f, i and g.
    """

    _mode = "MIN_LSTM"
