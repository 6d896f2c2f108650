"""The checks of a Mamba mixer, and the steps that the forms of all mixers share."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xrnn.torch.memory import memory_of
from xrnn.torch.operation import apply
from xrnn.torch.selective_scan import Convolution
from xrnn.torch.unsupported import Unsupported, casts, check_mode, check_tensor

_SILU: Final = ("silu", "swish")
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


# ---- checks ----


def check_mixer(module: Any) -> None:
    """Raises Unsupported if the mixer can't run on the kernels in its present state."""
    check_mode()
    if casts():
        raise Unsupported("autocast is on")
    if module.A_log.device.type != "cpu":
        raise Unsupported(f"it is on the device {module.A_log.device}, where transformers has its own kernels")
    memory_of(module.A_log.device)
    if module.activation not in _SILU or type(module.act).__name__ not in ("SiLUActivation", "SiLU"):
        raise Unsupported(f"its activation is {module.activation}, not silu")
    if getattr(module, "use_fast_kernels", False):
        raise Unsupported("use_mamba_kernels=True needs CUDA: set it to False in the config before you make the model")
    if hasattr(getattr(module, "config", None), "_is_quantized"):
        raise Unsupported("it is quantized")
    if type(module.conv1d) is not nn.Conv1d:
        raise Unsupported(f"its conv1d is a {type(module.conv1d).__name__}")
    for name in ("conv1d", "act", "dt_proj"):  # their weights are used without a call, here or in transformers
        part = getattr(module, name, None)  # Mamba-2 has no dt_proj
        if part is None:
            continue
        if hasattr(part, "_hf_hook") or (name != "dt_proj" and any(getattr(part, hooks) for hooks in _HOOKS)):
            raise Unsupported(f"{name} has hooks")
    for name, weight in _own_weights(module).items():
        check_tensor(name, weight)
        if weight.dtype is not torch.float32:
            raise Unsupported(f"{name} is {weight.dtype}: the kernels take a model in float32, as of model.float()")


def _own_weights(module: Any) -> dict[str, Tensor]:
    """The weights that the kernels read; the mixer calls the modules of all others."""
    weights = {"A_log": module.A_log, "D": module.D, "conv1d.weight": module.conv1d.weight}
    if hasattr(module, "dt_bias"):  # of Mamba-2
        weights["dt_bias"] = module.dt_bias
    return weights


def check_call(module: Any, hidden: Any) -> None:
    """Raises Unsupported if the mixer, or its input, can't run on the kernels."""
    check_mixer(module)
    check_tensor("the input", hidden, module.A_log)
    if hidden.dim() != 3 or not hidden.numel():
        raise Unsupported(f"the input is {tuple(hidden.shape)}")


def check_old_cache(cache: Any) -> None:
    if not hasattr(cache, "ssm_states"):
        raise Unsupported(f"the cache is a {type(cache).__name__}, not that of transformers 4.57")


# ---- steps ----


def masked(x: Tensor, mask: Any) -> Tensor:
    """x (N, T, D), with zeros where the mask (N, T) is 0."""
    return x if mask is None else (x * mask[:, :, None]).to(x.dtype)


def window_of(x: Tensor, W: int) -> Tensor:
    """The last W steps of x (N, T, D), as (N, D, W), with zeros before the first one."""
    return F.pad(x.transpose(1, 2), (W - x.shape[1], 0))


def convolved(module: Any, x: Tensor, before: Tensor | None = None) -> Tensor:
    """silu of the convolution of x (N, T, D).

    before   (W - 1, N, D), the x before the first step; None for zeros
    """
    operands = [x.transpose(0, 1), module.conv1d.weight.squeeze(1), module.conv1d.bias, before]
    return apply(Convolution(silu=True), operands)[0].transpose(0, 1)


def last_of(module: Any, window: Tensor) -> Tensor:
    """The last W steps before the convolution (N, D, W) → silu of its last step (N, 1, D)."""
    y = (window * module.conv1d.weight.squeeze(1)).sum(dim=-1)
    if module.conv1d.bias is not None:
        y = y + module.conv1d.bias
    return F.silu(y)[:, None]
