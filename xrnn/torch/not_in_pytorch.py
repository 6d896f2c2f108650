"""MinGRU, MinLSTM and SLSTM, which PyTorch does not have."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from xrnn.exchange.torch_weights import CELLS
from xrnn.ops.cells.minimal import Candidate, MinGRUCell
from xrnn.ops.cells.slstm import ForgetGate, SLSTMCell
from xrnn.select import kind_of
from xrnn.torch.forward import PYTORCH_FORWARDS, run
from xrnn.torch.modules import KernelModule
from xrnn.torch.original import step_by_step


class _OwnModule(KernelModule):
    """A module that PyTorch does not have. Calls that the kernels do not support run in PyTorch's operations."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return run(self, in_pytorch, input, hx)

    def __prepare_scriptable__(self) -> nn.RNNBase:
        raise RuntimeError(
            f"torch.jit.script got an xrnn.torch.{type(self).__name__}: expected a module that PyTorch has too; use "
            "torch.export"
        )


class _MinimalModule(_OwnModule):
    """A module whose gates do not depend on h.

    Its weight_hh and bias_hh have no elements. They are buffers, because `clip_grad_norm_` and `torch.autograd.grad`
    refuse some parameters without elements or gradients. The state_dict has the same keys as that of a GRU.
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

    def extra_repr(self) -> str:
        sizes: str = super().extra_repr()
        return f"{sizes}, candidate={self.candidate!r}" if self.candidate != "linear" else sizes


def in_pytorch(module: Any, input: Any, hx: Any) -> Any:
    """The call in PyTorch's operations.

    Raises ValueError for an input or initial states of another shape; TypeError if hx is not a tensor of that dtype, or
    not a tuple of tensors for a module with several states.
    """
    names = CELLS[module.mode].states
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
    if hx is None:
        given = [x.new_zeros((module.num_layers * ways, x.shape[1], module.hidden_size))] * len(names)
    else:
        rows = () if one_row else x.shape[1:2]
        given = _checked_states(hx, names, (module.num_layers * ways, *rows, module.hidden_size), x)
        if one_row:
            given = [state.unsqueeze(1) for state in given]
        elif packed and input.sorted_indices is not None:
            given = [state[:, input.sorted_indices] for state in given]
    for layer in range(module.num_layers):
        results = []
        for k in range(layer * ways, (layer + 1) * ways):
            weights = [getattr(module, name) for name in module._all_weights[k]]
            initial = [state[k] for state in given]
            h, *last = step_by_step(module.mode, x, initial, weights, lengths, reverse=k % ways == 1)
            results.append(h)
            final.append(last)
        x = torch.cat(results, dim=2)
        if module.dropout and module.training and layer + 1 < module.num_layers:
            x = nn.functional.dropout(x, module.dropout)
    states: Any = tuple(torch.stack(of_state) for of_state in zip(*final, strict=True))
    if packed:
        x = PackedSequence(pack_padded_sequence(x, lengths).data, *input[1:])
        if input.unsorted_indices is not None:
            states = tuple(state[:, input.unsorted_indices] for state in states)
    elif one_row:
        x, states = x.squeeze(1), tuple(state.squeeze(1) for state in states)
    elif module.batch_first:
        x = x.transpose(0, 1)
    return x, states if len(states) > 1 else states[0]


def _checked_states(hx: Any, names: tuple[str, ...], shape: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """hx as a list of tensors, one for each state.   Raises TypeError and ValueError as `in_pytorch` does."""
    if len(names) == 1:
        check_state(hx, shape, x)
        return [hx]
    if not isinstance(hx, tuple | list) or len(hx) != len(names):
        got = f"{len(hx)} states" if isinstance(hx, tuple | list) else f"a {kind_of(hx)}"
        raise TypeError(f"hx is {got}: expected a tuple of {len(names)} tensors, {', '.join(names)}")
    for state in hx:
        check_state(state, shape, x)
    return list(hx)


def check_state(hx: Any, shape: tuple[int, ...], x: Tensor) -> None:
    """Raises TypeError unless hx is a tensor of the dtype of x, or autocast is on; ValueError for another shape."""
    if not isinstance(hx, Tensor):
        raise TypeError(f"hx is a {kind_of(hx)}: expected a tensor of shape {shape}")
    if hx.shape != shape:
        raise ValueError(f"hx has the shape {tuple(hx.shape)}: expected {shape}")
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


class SLSTM(_OwnModule):
    """An sLSTM (Beck et al., 2024), which PyTorch does not have: an LSTM with an exponential input gate.

    Arguments, shapes, parameters and initial values are those of `torch.nn.LSTM`, with `batch_first` and packed
    sequences. There are four states: hx and the second result are (h, c, n, m), of the shapes of an LSTM's h. The
    stabiliser m counts as a constant: its gradient is 0. Wrong arguments raise TypeError or ValueError.

    forget_gate   "exp": f = exp(z). "sigmoid": f = σ(z). It is not in the state_dict
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        forget_gate: ForgetGate = "exp",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        SLSTMCell(forget_gate)  # raises ValueError for an unknown forget gate
        sizes = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("LSTM", *sizes, device=device, dtype=dtype)
        self.forget_gate: ForgetGate = forget_gate
        self.mode = "SLSTM" if forget_gate == "exp" else "SLSTM_SIGMOID"

    def extra_repr(self) -> str:
        sizes: str = super().extra_repr()
        return f"{sizes}, forget_gate={self.forget_gate!r}" if self.forget_gate != "exp" else sizes
