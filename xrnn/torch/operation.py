"""An operation of the backends as a node of PyTorch's graph, or in PyTorch's own operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

import torch
from torch import Tensor

from xrnn.backend import Backend
from xrnn.torch.fallbacks import Reasons, count
from xrnn.torch.memory import Memory, memory_of
from xrnn.torch.recurrence import refuse_memory
from xrnn.torch.unsupported import DTYPES, Unsupported, casts, check_gradients, check_mode, check_tensor
from xrnn.typing import Array, ArrayIfNeeded

Tensors: TypeAlias = Sequence[Tensor | None]
Arrays: TypeAlias = Sequence[ArrayIfNeeded]


class Operation(Protocol):
    """An operation with its options. Its operands are tensors or arrays in a fixed order; None for one left out."""

    @property
    def name(self) -> str: ...

    def forward(self, backend: Backend, operands: Arrays, training: bool) -> tuple[tuple[Array, ...], ArrayIfNeeded]:
        """→ the results, and what `backward` needs besides the operands."""

    def backward(self, backend: Backend, operands: Arrays, saved: ArrayIfNeeded, dresults: Arrays) -> Arrays:
        """The gradients of all operands."""

    def in_pytorch(self, operands: Tensors) -> tuple[Tensor, ...]:
        """The same results by PyTorch's operations."""


_reasons: Final[dict[str, Reasons]] = {}


def apply(operation: Operation, operands: Tensors) -> tuple[Tensor, ...]:
    """The results of an operation, on a backend if it supports the call, otherwise in PyTorch.

    All operands have the dtype and the device of the first one.
    """
    if casts():  # the caller has chosen the dtypes, as for the kernels of mamba_ssm, which autocast does not change
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return _apply(operation, operands)
    return _apply(operation, operands)


def _apply(operation: Operation, operands: Tensors) -> tuple[Tensor, ...]:
    try:
        check_mode()
        memory = _memory_of(operands)
    except Unsupported as why:
        if not torch.compiler.is_compiling():  # counting would break the graph of torch.compile
            count(_reasons.setdefault(operation.name, Counter()), operation.name, why)
        return operation.in_pytorch(operands)
    try:
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in operands):
            return _Node.apply(operation, memory, *operands)
        with memory.entered():
            arrays = [None if t is None else memory.array(t) for t in operands]
            results, _ = operation.forward(memory.backend, arrays, training=False)
        return tuple(map(memory.tensor, results))
    except MemoryError as error:
        refuse_memory(operation.name, error)


def _memory_of(operands: Tensors) -> Memory:
    first = operands[0]
    assert first is not None
    for tensor in operands:
        if tensor is not None:
            check_tensor("an operand", tensor, first)
    if first.dtype not in DTYPES:
        raise Unsupported(f"no kernel computes in {first.dtype}")
    if not all(t is None or t.numel() for t in operands):
        raise Unsupported("an operand is empty")
    return memory_of(first.device)


class _Node(torch.autograd.Function):
    """save_for_backward keeps the operands, so that PyTorch notices in-place changes."""

    @staticmethod
    def forward(ctx: Any, operation: Operation, memory: Memory, *operands: Tensor | None) -> tuple[Tensor, ...]:
        with memory.entered():
            arrays = [None if t is None else memory.array(t) for t in operands]
            results, saved = operation.forward(memory.backend, arrays, training=True)
        ctx.operation, ctx.memory = operation, memory
        ctx.save_for_backward(*operands, None if saved is None else memory.tensor(saved))
        ctx.set_materialize_grads(False)
        return tuple(map(memory.tensor, results))

    @staticmethod
    def backward(ctx: Any, *dresults: Tensor | None) -> Any:
        operation = ctx.operation
        memory = ctx.memory
        needed = ctx.needs_input_grad[2:]
        *operands, saved = ctx.saved_tensors
        try:
            check_gradients(dresults)
        except Unsupported as why:
            name = f"{operation.name}: the gradient"
            count(_reasons.setdefault(operation.name, Counter()), name, why)
            return None, None, *_gradients_in_pytorch(operation, operands, dresults, needed)
        try:
            with memory.entered():
                given, kept, douts = (
                    [None if t is None else memory.array(t) for t in tensors]
                    for tensors in (operands, [saved], dresults)
                )
                found = operation.backward(memory.backend, given, kept[0], douts)
        except MemoryError as error:
            refuse_memory(operation.name, error)
        gradients = [
            memory.tensor(g) if need and g is not None else None for g, need in zip(found, needed, strict=True)
        ]
        return None, None, *gradients


def _gradients_in_pytorch(
    operation: Operation, operands: Tensors, dresults: Tensors, needed: Sequence[bool]
) -> list[Tensor | None]:
    """If gradients are enabled, as in a `backward` with create_graph=True, they can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        results = operation.in_pytorch(operands)
    used = [(r, d) for r, d in zip(results, dresults, strict=True) if d is not None]
    found = iter(
        torch.autograd.grad(
            [r for r, _ in used],
            [t for t, need in zip(operands, needed, strict=True) if need and t is not None],
            [d for _, d in used],
            create_graph=again,
            allow_unused=True,
        )
    )
    return [next(found) if need else None for need in needed]
