"""RNN, LSTM and GRU: PyTorch's own modules, but for what runs in `forward`."""

from __future__ import annotations

import copy
import functools
import logging
from typing import Any, ClassVar, Final

import torch
from torch import _VF, Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from xrnn.torch.recurrence import recurrence
from xrnn.torch.unsupported import Unsupported, check_mode, check_tensor, follows
from xrnn.torch.weights import directions_of, weights_of

_log: Final = logging.getLogger("xrnn.torch")


@functools.cache
def _not_followed() -> Any:
    """Calls a function that torch.compile is not to follow, or it would translate our NumPy code to PyTorch."""
    return torch.compiler.disable(lambda function, *arguments: function(*arguments))


class KernelModule(nn.RNNBase):
    """`forward` on the kernels. A call that they can't take, a wrong one too, is PyTorch's to compute or to refuse."""

    _original: ClassVar[type[nn.RNNBase]]

    def forward(self, input: Any, hx: Any = None) -> Any:
        try:
            check_mode()
            run = self._packed if isinstance(input, PackedSequence) else self._padded
            if follows() is not None:
                return _not_followed()(run, input, self._given(hx))
            return run(input, self._given(hx))
        except Unsupported as found:
            why = found
        # Past the `except`, so that an error of PyTorch's doesn't drag this one along.
        _log.debug("%s runs in PyTorch: %s", type(self).__name__, why)
        return super().forward(input, hx)

    def _given(self, hx: Any) -> list[Any]:
        """The initial states, none or one for each that the cell has."""
        if hx is None:
            return []
        if self.mode != "LSTM":
            return [hx]
        if not isinstance(hx, tuple | list) or len(hx) != 2:
            raise Unsupported("the initial states are no pair")
        return list(hx)

    def _padded(self, x: Tensor, states: list[Tensor]) -> Any:
        """x (T, N, D), with batch_first (N, T, D), or unbatched (T, D)."""
        check_tensor("the input", x)
        if x.dim() == 2:
            x = x.unsqueeze(1)
            states = self._checked_states(x, states, unbatched=True)
            h, final = self._layers(x, states, None)
            return h.squeeze(1), self._returned([state.squeeze(1) for state in final])
        if x.dim() != 3:
            raise Unsupported(f"the input has {x.dim()} dimensions")
        if self.batch_first:
            x = x.transpose(0, 1)
        h, final = self._layers(x, self._checked_states(x, states), None)
        return h.transpose(0, 1) if self.batch_first else h, self._returned(final)

    def _packed(self, packed: PackedSequence, states: list[Tensor]) -> Any:
        data, sizes, order, back = packed
        check_tensor("the input", data)
        if data.dim() != 2:
            raise Unsupported(f"the packed input has {data.dim()} dimensions")
        x, lengths = _VF._pad_packed_sequence(data, sizes, False, 0.0, -1)
        states = self._checked_states(x, states)
        if order is not None:
            states = [state.index_select(1, order) for state in states]
        h, final = self._layers(x, states, lengths)
        h, _ = _VF._pack_padded_sequence(h, lengths, False)
        if back is not None:
            final = [state.index_select(1, back) for state in final]
        return PackedSequence(h, sizes, order, back), self._returned(final)

    def _checked_states(self, x: Tensor, states: list[Tensor], unbatched: bool = False) -> list[Tensor]:
        """The initial states, (layers · directions, N, H) each.   Raises Unsupported for other shapes or kinds."""
        if not states:
            return states
        count = self.num_layers * (2 if self.bidirectional else 1)
        shape = (count, self.hidden_size) if unbatched else (count, x.shape[1], self.hidden_size)
        for state in states:
            check_tensor("an initial state", state, x)
            if state.shape != shape:
                raise Unsupported(f"an initial state is {tuple(state.shape)}")
        return [state.unsqueeze(1) for state in states] if unbatched else states

    def _layers(self, x: Tensor, states: list[Tensor], lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """x (T, N, D), states (layers · directions, N, H) → h (T, N, directions · H), the final states alike."""
        if not x.numel() or x.shape[2] != self.input_size:
            raise Unsupported(f"the input is {tuple(x.shape)}")
        weights = weights_of(self)
        each = directions_of(self, weights, x)
        if len(each) == 1:
            h, *final = recurrence(each[0], x, lengths, states, weights)
            return h, final
        count, width, finals = 2 if self.bidirectional else 1, len(weights) // len(each), []
        for first in range(0, len(each), count):
            results: list[Tensor] = []
            for k in range(first, first + count):
                initial = [state[k : k + 1] for state in states]
                h, *final = recurrence(each[k], x, lengths, initial, weights[k * width : (k + 1) * width])
                results.append(h)
                finals.append(final)
            x = results[0] if count == 1 else torch.cat(results, dim=2)
            if self.dropout and self.training and first + count < len(each):
                x = nn.functional.dropout(x, self.dropout)
        return x, [torch.cat(each) for each in zip(*finals, strict=True)]

    def _returned(self, final: list[Tensor]) -> Any:
        return tuple(final) if self.mode == "LSTM" else final[0]

    def __prepare_scriptable__(self) -> nn.RNNBase:
        """PyTorch's own module of the same parameters: torch.jit.script can't compile a kernel."""
        original = copy.copy(self)
        original.__class__ = self._original
        return original


class RNN(KernelModule, nn.RNN):
    """`torch.nn.RNN`, faster: the same arguments, parameters, state_dict and results."""

    _original = nn.RNN


class LSTM(KernelModule, nn.LSTM):
    """`torch.nn.LSTM`, faster: the same arguments, parameters, state_dict and results. proj_size runs in PyTorch."""

    _original = nn.LSTM


class GRU(KernelModule, nn.GRU):
    """`torch.nn.GRU`, faster: the same arguments, parameters, state_dict and results."""

    _original = nn.GRU
