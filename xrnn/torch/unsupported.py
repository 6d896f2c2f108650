"""Checks that run before the kernels. If one of them raises Unsupported, the call runs in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch.autograd import forward_ad

DTYPES: Final = (torch.float32, torch.float64)
PLAIN: Final = frozenset((torch.Tensor, torch.nn.Parameter))


# Names for PyTorch's functions: to look them up in its modules would take as long as to call them.
casts: Final = torch._C._is_any_autocast_enabled
_traced: Final = torch._C._get_tracing_state
_compiled: Final = torch.compiler.is_compiling
in_dynamo: Final = torch.compiler.is_dynamo_compiling
_transformed: Final = torch._C._are_functorch_transforms_active
dynamo_callback: Final = torch._C._dynamo.eval_frame.get_eval_frame_callback  # None outside torch.compile
_dispatched: Final = torch._C._len_torch_dispatch_stack
_batched: Final = torch._C._functorch.is_legacy_batchedtensor  # with is_grads_batched; torch.vmap is a transform


class Unsupported(Exception):
    """The kernels do not support this call; the message is the reason."""


class Recorded(Unsupported):
    """PyTorch records its own operations, as the caller wants: no reason for a warning."""


class Slower(Unsupported):
    """PyTorch is faster for this call. It is counted, but no reason for a warning."""


def check_mode() -> None:
    """Raises Unsupported in modes that change or record PyTorch's operations, since kernels bypass these."""
    # This check is first: torch.compile knows it, and would break its graph at the others.
    if _compiled() or _traced() is not None:
        raise Recorded("the model is being traced, compiled or exported")
    if casts() and not rounds_to_bfloat16():
        raise Unsupported("autocast is on, to another dtype than bfloat16 or on another device than the CPU")
    if _transformed():
        raise Unsupported("a transform of torch.func (vmap, grad, …) is active")
    if _dispatched():
        raise Unsupported("a TorchDispatchMode is active")
    if forward_ad._current_level >= 0:
        raise Unsupported("forward-mode differentiation is active")


def rounds_to_bfloat16() -> bool:
    """Whether autocast to bfloat16 is on for the CPU, and off for CUDA."""
    on, dtype_of = torch.is_autocast_enabled, torch.get_autocast_dtype
    return on("cpu") and dtype_of("cpu") is torch.bfloat16 and not on("cuda")


def check_tensor(name: str, tensor: Any, like: torch.Tensor | None = None) -> None:
    """Raises Unsupported unless this is a plain tensor in memory, of the dtype and on the device of `like`."""
    if type(tensor) not in PLAIN:
        raise Unsupported(f"{name} is a {type(tensor).__name__}, not a plain tensor")
    if tensor.layout is not torch.strided or tensor.is_neg():
        raise Unsupported(f"{name} is sparse, or its values in memory are negated")
    if like is not None and (tensor.dtype is not like.dtype or tensor.device != like.device):
        raise Unsupported(f"{name} is {tensor.dtype} on {tensor.device}, the input {like.dtype} on {like.device}")
    if not tensor.data_ptr() and tensor.numel() and not tensor.is_meta:
        raise Unsupported(f"the storage of {name} was freed")


def check_gradients(gradients: Iterable[torch.Tensor | None]) -> None:
    """Raises Unsupported unless these are plain tensors in memory that will not be differentiated again."""
    if torch.is_grad_enabled():
        raise Unsupported("the gradient will be differentiated again")
    if _transformed():
        raise Unsupported("a transform of torch.func (vmap, grad, …) is active")
    for g in gradients:
        if g is None:
            continue
        if _batched(g):
            raise Unsupported("several gradients are computed at once")
        if g._is_zerotensor():
            raise Unsupported("the gradient is zeros without memory")
        check_tensor("the gradient", g)
