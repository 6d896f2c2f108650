"""MinGRU, MinLSTM, SLSTM and LRU, which PyTorch does not have."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from xrnn.exchange.torch_weights import CELLS, parameter_names, shapes
from xrnn.layers.lru import LRU as Layer
from xrnn.layers.recurrent import check_heads
from xrnn.messages import kind_of
from xrnn.ops.cells.minimal import Candidate, MinGRUCell
from xrnn.ops.cells.slstm import ForgetGate, SLSTMCell
from xrnn.torch.forward import PYTORCH_FORWARDS, run
from xrnn.torch.modules import KernelModule
from xrnn.torch.pytorch_operations import step_by_step


class _OwnModule(KernelModule):
    """A module that PyTorch does not have. Calls that the kernels do not support run in PyTorch's operations.

    The state_dict has the keys of a GRU's, and one for each own parameter of the cell. Weights without elements are
    buffers, because `clip_grad_norm_` and `torch.autograd.grad` refuse some parameters without elements or gradients.

    mode      of `torch_weights.MODES`
    sizes     the first seven arguments of `torch.nn.GRU`
    options   the other arguments, which become attributes; each is shown if it differs from `_defaults`
    """

    _defaults: ClassVar[dict[str, Any]]

    def __init__(self, mode: str, sizes: tuple[Any, ...], device: Any, dtype: Any, **options: Any) -> None:
        super().__init__("RNN_TANH", *sizes, device=device, dtype=dtype)
        self.__dict__.update(options)
        self.mode = mode
        cell = CELLS[mode]
        heads = options.get("heads")
        if heads is not None:
            check_heads(heads, self.hidden_size, cell)
        like = self.weight_ih_l0
        ways = 2 if self.bidirectional else 1
        for k, names in enumerate(self._all_weights):
            names[:] = parameter_names(cell, k // ways, k % ways == 1, self.bias)
            D = self.input_size if k < ways else ways * self.hidden_size * cell.components
            each = shapes(cell, D, self.hidden_size, heads, self.bias)
            for name, weight in zip(names, map(like.new_empty, each), strict=True):
                self._parameters.pop(name, None)
                if weight.numel():
                    self.register_parameter(name, nn.Parameter(weight))
                else:
                    self.register_buffer(name, weight)
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        self._init_flat_weights()
        self.reset_parameters()

    def flatten_parameters(self) -> None:
        """Does nothing: only cuDNN needs flat weights, and it does not have this cell."""

    def extra_repr(self) -> str:
        shown = [f"{name}={v!r}" for name, default in self._defaults.items() if (v := getattr(self, name)) != default]
        return ", ".join([super().extra_repr(), *shown])

    def forward(self, input: Any, hx: Any = None) -> Any:
        return run(self, in_pytorch, input, hx)

    def __prepare_scriptable__(self) -> nn.RNNBase:
        raise RuntimeError(
            f"torch.jit.script got an xrnn.torch.{type(self).__name__}: expected a module that PyTorch has too; use "
            "torch.export"
        )


def in_pytorch(module: Any, input: Any, hx: Any) -> Any:
    """The call in PyTorch's operations.

    Raises ValueError for an input or initial states of another shape; TypeError if hx is not a tensor of that dtype, or
    not a tuple of tensors for a module with several states.
    """
    names = CELLS[module.mode].states
    packed = isinstance(input, PackedSequence)
    x = input
    lengths = None
    if packed:
        x, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes))
    batch_first = module.batch_first and not packed
    one_row = x.dim() == 2
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
    ways = 2 if module.bidirectional else 1
    width = module.hidden_size * CELLS[module.mode].components
    final = []
    if hx is None:
        given = [x.new_zeros((module.num_layers * ways, x.shape[1], width))] * len(names)
    else:
        rows = () if one_row else x.shape[1:2]
        given = _checked_states(hx, names, (module.num_layers * ways, *rows, width), x)
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
        x = x.squeeze(1)
        states = tuple(state.squeeze(1) for state in states)
    elif module.batch_first:
        x = x.transpose(0, 1)
    return x, states if len(states) > 1 else states[0]


def _checked_states(hx: Any, names: tuple[str, ...], shape: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """hx as a list of tensors, one for each state.   Raises TypeError and ValueError as `in_pytorch` does."""
    if len(names) == 1:
        _check_state(hx, shape, x)
        return [hx]
    if not isinstance(hx, tuple | list) or len(hx) != len(names):
        got = f"{len(hx)} states" if isinstance(hx, tuple | list) else f"a {kind_of(hx)}"
        raise TypeError(f"hx is {got}: expected a tuple of {len(names)} tensors, {', '.join(names)}")
    for state in hx:
        _check_state(state, shape, x)
    return list(hx)


def _check_state(hx: Any, shape: tuple[int, ...], x: Tensor) -> None:
    """Raises TypeError unless hx is a tensor of the dtype of x, or autocast is on; ValueError for another shape."""
    if not isinstance(hx, Tensor):
        raise TypeError(f"hx is a {kind_of(hx)}: expected a tensor of shape {shape}")
    if hx.shape != shape:
        raise ValueError(f"hx has the shape {tuple(hx.shape)}: expected {shape}")
    if hx.dtype is not x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"hx is {hx.dtype}, the input {x.dtype}: expected one dtype; use hx.to(input.dtype)")


PYTORCH_FORWARDS.add(in_pytorch)


class _MinimalModule(_OwnModule):
    """A module whose gates do not depend on h."""

    _defaults: ClassVar = {"candidate": "linear"}
    _mode: ClassVar[str]  # with this candidate

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
        sizes = input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        mode = self._mode if candidate == "linear" else f"{self._mode}_POSITIVE"
        super().__init__(mode, sizes, device, dtype, candidate=candidate)


class MinGRU(_MinimalModule):
    """A minimal GRU (Feng et al., 2024), which PyTorch does not have: u = σ(z₀);  h' = h + u · (g(z₁) - h).

    Arguments, shapes, hidden state, initial values and results are those of `torch.nn.GRU`, with `batch_first` and
    packed sequences. weight_ih has the blocks u and g; weight_hh and bias_hh are buffers without elements. Wrong
    arguments raise TypeError or ValueError.

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
    heads         the number of heads, which divides hidden_size: units of one head feed only units of the same head.
                  weight_hh is then (heads, H/heads, 4·H/heads), as Wh of `xrnn.SLSTM`; None for a matrix (4·H, H)
    """

    _defaults: ClassVar = {"forget_gate": "exp", "heads": None}

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
        heads: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        SLSTMCell(forget_gate)  # raises ValueError for an unknown forget gate
        sizes = input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        mode = "SLSTM" if forget_gate == "exp" else "SLSTM_SIGMOID"
        super().__init__(mode, sizes, device, dtype, forget_gate=forget_gate, heads=heads)


class LRU(_OwnModule):
    """A linear recurrent unit (Orvieto et al., 2023): s' = λ · s + exp(γ) · (B x + b),  λ = exp(-exp(ν) + i · exp(θ)).

    Arguments and packed sequences are those of `torch.nn.GRU`. `hidden_size` is the number H of complex units. The
    output of a direction has 2H features, the real parts first, and so have hx and the final state: (num_layers ·
    directions, batch, 2H). Wrong arguments raise TypeError or ValueError.

    weight_ih (2H, input size) holds the real parts of B, then the imaginary parts, and bias_ih (2H,) those of b;
    weight_hh and bias_hh are buffers without elements. nu, theta and gamma (H,) are ν, θ and γ.

    r_min, r_max, max_phase   of the initial λ, as in `xrnn.LRU.init`
    """

    _defaults: ClassVar = {"r_min": 0.0, "r_max": 1.0, "max_phase": 2 * math.pi}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        super().__init__("LRU", sizes, device, dtype, r_min=r_min, r_max=r_max, max_phase=max_phase)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """New weights as those of `xrnn.LRU.init`, by PyTorch's random generator."""
        if self.mode != "LRU" or self.weight_ih_l0.is_meta:  # RNNBase calls it before the weights are made
            return
        ring = {name: getattr(self, name) for name in self._defaults}
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        for names in self._all_weights:
            sizes = getattr(self, names[0]).shape[1], self.hidden_size
            layer = Layer.init(*sizes, **ring, rng=rng, dtype="float64", backend="numpy")
            for name, value in zip((names[0], *names[-3:]), (layer.Wx.T, *layer.params[3:]), strict=True):
                getattr(self, name).copy_(torch.from_numpy(value))
            for name in names[1:-3]:
                getattr(self, name).zero_()
