"""Pairs of equal modules, PyTorch's and xrnn's, and the comparison of their results and gradients."""

from __future__ import annotations

import copy
from typing import Any, Final

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

import xrnn.torch
from xrnn.backends.numpy import info
from xrnn.exchange.torch_weights import CELLS

TOLERANCE: Final = {torch.float32: 2e-5, torch.float64: 1e-12}


def pair(kind: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    theirs = getattr(nn, kind)(*sizes, **options)
    ours = getattr(xrnn.torch, kind)(*sizes, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def accelerated(kind: str, *sizes: int, **options: Any) -> Any:
    module = getattr(nn, kind)(*sizes, **options)
    assert xrnn.torch.accelerate(module) == {"": "kernels"}
    return module


def without_bfloat16() -> str:
    """What `explain` adds on a CPU, or at a level, without products in bfloat16."""
    obstacle = info.bfloat16_obstacle()
    return f", products in float32: {obstacle}" if obstacle else ""


def states_of(module: Any, rows: int | None) -> Any:
    """Random initial states, for a batch of `rows`, or without a batch axis for None. A normaliser is above 1."""
    cell = CELLS[module.mode]
    count = module.num_layers * (2 if module.bidirectional else 1)
    shape = (count, *((rows,) if rows else ()), module.hidden_size * cell.components)
    drawn = {name: torch.randn(shape, dtype=module.weight_ih_l0.dtype) for name in cell.states}
    states = [1 + state.abs() if name == "n" else state for name, state in drawn.items()]
    return tuple(states) if len(states) > 1 else states[0]


def everything(module: Any, x: Any, hx: Any = None, run: Any = None) -> list[torch.Tensor]:
    """All results, and all gradients of a loss that depends on every element of every result.

    run   called in place of the module. A stabiliser, the last state of an sLSTM, has no gradient
    """
    x, hx = copy.deepcopy((x, hx))
    states = [*(hx if isinstance(hx, tuple) else [] if hx is None else [hx])]
    smooth = len(CELLS[module.mode].states) - len(CELLS[module.mode].stabilisers)
    leaves = [each.requires_grad_() for each in (x.data if isinstance(x, PackedSequence) else x, *states[:smooth])]
    h, final = (run or module)(x, hx)
    results = [h.data if isinstance(h, PackedSequence) else h, *(final if isinstance(final, tuple) else [final])]
    waves = [torch.arange(1, r.numel() + 1, dtype=r.dtype).reshape(r.shape).sin() for r in results[: 1 + smooth]]
    loss = sum((r * wave).sum() for r, wave in zip(results, waves, strict=False))
    return [*results, *torch.autograd.grad(loss, [*leaves, *module.parameters()])]


def agree(ours: list[torch.Tensor], theirs: list[torch.Tensor], *, factor: float = 1) -> None:
    """Shapes and dtypes are the same, and values agree to rounding, or to a multiple of it."""
    for k, (got, want) in enumerate(zip(ours, theirs, strict=True)):
        assert got.shape == want.shape, k
        assert got.dtype == want.dtype, k
        scale = max(1.0, float(want.detach().abs().max()))
        error = float((got - want).detach().abs().max()) / scale
        assert error <= factor * TOLERANCE[want.dtype], (k, error)
