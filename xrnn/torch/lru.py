"""The linear recurrent unit, which PyTorch does not have."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

import torch
from torch import Tensor, nn

from xrnn.layers.lru import LRU as Layer
from xrnn.ops.cells.lru import LEAST_NU, MOST_NU, LRUCell
from xrnn.ops.inputs import Inputs, Trace
from xrnn.select import kind_of
from xrnn.torch.memory import Memory, memory_of
from xrnn.torch.not_in_pytorch import check_state
from xrnn.torch.unsupported import DTYPES, Unsupported, check_gradients, check_mode, check_tensor, in_dynamo

_log: Final = logging.getLogger("xrnn.torch")
_CELL: Final = LRUCell()


class LRU(nn.Module):
    """A linear recurrent unit (Orvieto et al., 2023): s' = λ · s + exp(γ) · (B x + b),  λ = exp(-exp(ν) + i · exp(θ)).

    It has one layer of `hidden_size` complex units. The output has 2 · hidden_size features, the real parts first. hx
    and the final state have them too: (1, N, 2 · hidden_size). Input and output are (time, batch, features), or with
    `batch_first` (batch, time, features). Calls that the kernels do not support run in PyTorch's operations.

    weight_ih  (2 · hidden_size, input_size): the real parts of B, then the imaginary parts; bias_ih in the same order
    nu, theta, gamma  (hidden_size,)
    r_min, r_max, max_phase   of the initial λ, as in `xrnn.LRU.init`

    Raises TypeError or ValueError for wrong arguments.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        batch_first: bool = False,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.batch_first = input_size, hidden_size, batch_first
        self._ring: dict[str, Any] = {"r_min": r_min, "r_max": r_max, "max_phase": max_phase}
        options = {"device": device, "dtype": dtype}
        self.weight_ih = nn.Parameter(torch.empty(2 * hidden_size, input_size, **options))
        self.bias_ih = nn.Parameter(torch.empty(2 * hidden_size, **options))
        self.nu, self.theta, self.gamma = (nn.Parameter(torch.empty(hidden_size, **options)) for _ in range(3))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """New weights, by PyTorch's random generator."""
        seed = int(torch.randint(2**62, ()))
        sizes = self.input_size, self.hidden_size
        made = Layer.init(*sizes, **self._ring, rng=seed, dtype="float64", backend="numpy")
        Wx, _, b, *own = (torch.from_numpy(param) for param in made.params)
        for param, value in zip(self.parameters(), (Wx.T, b, *own), strict=True):
            param.copy_(value)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}{', batch_first=True' if self.batch_first else ''}"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """→ the output, (time, batch, 2 · hidden_size), and the final state, (1, batch, 2 · hidden_size)."""
        if not isinstance(input, Tensor):
            raise TypeError(f"the input is a {kind_of(input)}: expected a tensor; pad a PackedSequence first")
        if input.dim() != 3 or input.shape[-1] != self.input_size or not input.shape[self.batch_first]:
            axes = "batch, time" if self.batch_first else "time, batch"
            raise ValueError(
                f"the input has the shape {tuple(input.shape)}: expected ({axes}, {self.input_size}), with at least "
                "one step"
            )
        x = input.transpose(0, 1) if self.batch_first else input
        shape = (1, x.shape[1], 2 * self.hidden_size)
        if hx is not None:
            check_state(hx, shape, x)
        h_prev = x.new_zeros(shape[1:]) if hx is None else hx[0]
        h = _run(x, h_prev, tuple(self.parameters()))
        final = h[-1:].clone()
        return h.transpose(0, 1) if self.batch_first else h, final


def _run(x: Tensor, h_prev: Tensor, params: tuple[Tensor, ...]) -> Tensor:
    """h (T, N, 2H), on the kernels or in PyTorch."""
    try:
        return _on_kernels(supported(x, h_prev, *params), x, h_prev, params)
    except Unsupported as found:
        why = found
    if not in_dynamo():
        _log.debug("LRU runs in PyTorch: %s", why)
    return in_pytorch(x, h_prev, *params)


def supported(*operands: Tensor) -> Memory:
    """The memory of the operands.   Raises Unsupported unless the kernels take them."""
    check_mode()
    for tensor in operands:
        check_tensor("an operand", tensor, operands[0])
    if operands[0].dtype not in DTYPES:
        raise Unsupported(f"no kernel computes in {operands[0].dtype}")
    return memory_of(operands[0].device)


@torch.compiler.disable
def _on_kernels(memory: Memory, x: Tensor, h_prev: Tensor, params: tuple[Tensor, ...]) -> Tensor:
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, h_prev, *params)):
        h: Tensor = _Recurrence.apply(memory, x, h_prev, *params)
        return h
    with memory.entered():
        return memory.tensor(_forward(memory, x, h_prev, params, training=False).states[0][1:])


def _forward(memory: Memory, x: Tensor, h_prev: Tensor, params: Any, training: bool) -> Trace:
    W, b, *own = (memory.array(param) for param in params)
    Wh = memory.backend.xp.empty((len(b), 0), b.dtype)
    inputs = Inputs(memory.array(x), W.T, Wh, b, (memory.array(h_prev),), own=own)
    return Trace(inputs, *memory.backend.recurrence_forward(_CELL, inputs, training))


class _Recurrence(torch.autograd.Function):
    """save_for_backward keeps the tensors, so that PyTorch notices changes in place."""

    @staticmethod
    def forward(ctx: Any, memory: Memory, x: Tensor, h_prev: Tensor, *params: Tensor) -> Tensor:
        with memory.entered():
            ctx.trace = _forward(memory, x, h_prev, params, training=True)
            h = memory.tensor(ctx.trace.states[0][1:])
        ctx.memory = memory
        ctx.save_for_backward(x, h_prev, *params, h)
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> Any:
        *operands, _ = ctx.saved_tensors  # raises an error if one of them was changed
        wanted = ctx.needs_input_grad[1:]
        try:
            check_gradients((dh,))
        except Unsupported as why:
            _log.debug("LRU: the gradient runs in PyTorch: %s", why)
            graph = torch.is_grad_enabled()
            needed = [operand for operand, is_wanted in zip(operands, wanted, strict=True) if is_wanted]
            with torch.enable_grad():
                found = iter(torch.autograd.grad(in_pytorch(*operands), needed, dh, create_graph=graph))
            return None, *(next(found) if is_wanted else None for is_wanted in wanted)
        memory, trace = ctx.memory, ctx.trace
        with memory.entered():
            inputs, xp = trace.inputs, memory.backend.xp
            grads = [xp.empty(w.shape, w.dtype) for w in (inputs.Wx, inputs.Wh, inputs.b, *inputs.own)]
            dx, (dh_prev,) = memory.backend.recurrence_backward(_CELL, trace, (memory.array(dh),), grads, wanted[0])
            dWx, _, *others = grads
            gradients = (dx, dh_prev, dWx.T, *others)
            return None, *(
                memory.tensor(g) if is_wanted else None for g, is_wanted in zip(gradients, wanted, strict=True)
            )


def in_pytorch(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor, nu: Tensor, theta: Tensor, gamma: Tensor) -> Tensor:
    """h (T, N, 2H) in PyTorch's operations."""
    r, phase, gain = torch.exp(-torch.exp(nu.clamp(LEAST_NU, MOST_NU))), torch.exp(theta), torch.exp(gamma)
    p, q = r * torch.cos(phase), r * torch.sin(phase)
    z_re, z_im = (gain * part for part in nn.functional.linear(x, weight, bias).chunk(2, dim=-1))
    (re, im), states = h.chunk(2, dim=-1), []
    for a, b in zip(z_re.unbind(), z_im.unbind(), strict=True):
        re, im = p * re - q * im + a, p * im + q * re + b
        states.append(torch.cat((re, im), dim=-1))
    return torch.stack(states)
