"""What the kernels can't do, found before they start: PyTorch's own implementation then runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch.autograd import forward_ad

DTYPES: Final = (torch.float32, torch.float64)
PLAIN: Final = (torch.Tensor, torch.nn.Parameter)


# By themselves: each look-up in PyTorch's modules would take as long as the call.
_casts: Final = torch._C._is_any_autocast_enabled
_traced: Final = torch._C._get_tracing_state
_compiled: Final = torch.compiler.is_compiling
_transformed: Final = torch._C._are_functorch_transforms_active
follows: Final = torch._C._dynamo.eval_frame.get_eval_frame_callback  # None unless torch.compile follows each call
_watched: Final = torch._C._len_torch_dispatch_stack
_batched: Final = torch._C._functorch.is_legacy_batchedtensor  # by is_grads_batched; torch.vmap is a transform


class Unsupported(Exception):
    """The kernels can't take this call; the message says why."""


def check_mode() -> None:
    """Raises Unsupported where operations are watched, transformed or cast, which a kernel would escape."""
    if _casts():
        raise Unsupported("autocast is on")
    if _traced() is not None or _compiled():
        raise Unsupported("the model is being traced, compiled or exported")
    if _transformed():
        raise Unsupported("a transform of torch.func (vmap, grad, …) is active")
    if _watched():
        raise Unsupported("a TorchDispatchMode is active")
    if forward_ad._current_level >= 0:
        raise Unsupported("forward-mode differentiation is active")


def check_tensor(name: str, tensor: Any, like: torch.Tensor | None = None) -> None:
    """Raises Unsupported for what is no plain tensor in memory, or not of the dtype and on the device of `like`."""
    if type(tensor) not in PLAIN:
        raise Unsupported(f"{name} is a {type(tensor).__name__}, no plain tensor")
    if tensor.layout is not torch.strided or tensor.is_neg():
        raise Unsupported(f"{name} is not laid out as it reads")
    if like is not None and (tensor.dtype is not like.dtype or tensor.device != like.device):
        raise Unsupported(f"{name} is {tensor.dtype} on {tensor.device}, the input {like.dtype} on {like.device}")


def check_gradients(gradients: Iterable[torch.Tensor | None]) -> None:
    """Raises Unsupported where they are differentiated again, many at once, or have no memory that reads as they do."""
    if torch.is_grad_enabled():
        raise Unsupported("it is to be differentiated again")
    if _transformed():
        raise Unsupported("a transform of torch.func (vmap, grad, …) is active")
    for g in gradients:
        if g is None:
            continue
        if _batched(g):
            raise Unsupported("many gradients are taken at once")
        check_tensor("what arrives", g)
        if g._is_zerotensor():
            raise Unsupported("what arrives is zeros without memory")
