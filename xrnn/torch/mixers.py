"""The Mamba mixers of transformers, with the selective scan and the convolution on xrnn's kernels.

transformers computes them on a CPU in a Python loop over the steps. A mixer's `forward` exists in three forms, which
differ in the names of its arguments, its cache, and in what the mask multiplies:

    transformers 4.57, 5.0    hidden_states, cache_params, cache_position, attention_mask; Jamba: no cache_position
    transformers 5.24         hidden_states, cache, attention_mask

Other forms, and calls that these kernels don't support, run transformers' own `forward`. This module does not import
transformers: it finds the classes by their names.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from xrnn.torch.fallbacks import run_original
from xrnn.torch.memory import memory_of
from xrnn.torch.operation import apply
from xrnn.torch.selective_scan import Convolution, Scan
from xrnn.torch.unsupported import Unsupported, casts, check_mode, check_tensor, in_dynamo

_MIXERS: Final = {
    "transformers.models.mamba.modeling_mamba.MambaMixer",
    "transformers.models.falcon_mamba.modeling_falcon_mamba.FalconMambaMixer",
    "transformers.models.jamba.modeling_jamba.JambaMambaMixer",
}
_SILU: Final = ("silu", "swish")
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_mixer(module: nn.Module) -> bool:
    """Whether this is one of these mixers, or of a class derived from one."""
    return any(map(_is_mixer, type(module).__mro__))


def _is_mixer(kind: type) -> bool:
    return f"{kind.__module__}.{kind.__qualname__}" in _MIXERS


def obstacle(module: nn.Module) -> str | None:
    """The reason why this mixer always runs in transformers, or None."""
    form = _form(module)
    return form if isinstance(form, str) else None


def run_mixer(module: Any, original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run `module` on the kernels, or by transformers' `original`, if the kernels do not support the call."""
    if in_dynamo() and not torch.compiler.is_exporting():  # left out of the graphs of torch.compile, as nn.LSTM is
        return torch.compiler.disable(run_mixer)(module, original, *arguments, **options)
    try:
        check_mode()
        form = _form(module)
        if isinstance(form, str):
            raise Unsupported(form)
        return form(module, *arguments, **options)
    except Unsupported as found:
        why = found
    return run_original(original, why, module, *arguments, **options)


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
        part = getattr(module, name)
        if hasattr(part, "_hf_hook") or (name != "dt_proj" and any(getattr(part, hooks) for hooks in _HOOKS)):
            raise Unsupported(f"{name} has hooks")
    for name, weight in {"A_log": module.A_log, "D": module.D, "conv1d.weight": module.conv1d.weight}.items():
        check_tensor(name, weight)
        if weight.dtype is not torch.float32:
            raise Unsupported(f"{name} is {weight.dtype}: the kernels take a model in float32, as of model.float()")


def _form(module: nn.Module) -> Callable[..., Tensor] | str:
    """The form of this mixer's `forward`, or the reason why no form fits."""
    kind: Any = parametrize.type_before_parametrizations(module)
    if not _is_mixer(kind):
        return f"its type is {kind.__module__}.{kind.__qualname__}, not a mixer of transformers itself"
    if "slow_forward" in vars(module):
        return "its forward was replaced"
    return _form_of(kind.forward, getattr(kind, "slow_forward", kind.forward))


@functools.cache
def _form_of(forward: Callable[..., Any], slow_forward: Callable[..., Any]) -> Callable[..., Tensor] | str:
    if not (_is_own(forward) and _is_own(slow_forward)):
        return "its forward was replaced"
    names = tuple(inspect.signature(inspect.unwrap(forward)).parameters)
    return _FORMS.get(names[1:], "its forward takes other arguments than in transformers 4.57 and 5.24")


def _is_own(function: Any) -> bool:
    """Whether transformers defines this function and each of its decorators."""
    while function is not None:
        if function.__globals__["__name__"].partition(".")[0] != "transformers":
            return False
        function = getattr(function, "__wrapped__", None)
    return True


# ---- the three forms ----


def _of_4(
    module: Any,
    hidden_states: Any,
    cache_params: Any = None,
    cache_position: Any = None,
    attention_mask: Any = None,
) -> Tensor:
    """MambaMixer and FalconMambaMixer of transformers 4.57 and 5.0."""
    _check(module, hidden_states)
    is_first = True
    if cache_params is not None:
        _check_old_cache(cache_params)
        if cache_position is None:
            raise Unsupported("it was called with a cache, but without cache_position")
        is_first = cache_position.shape[0] == module.conv_kernel_size  # so does transformers recognise the first call
        if not is_first and hidden_states.shape[1] != 1:
            raise Unsupported("several steps continue a cache")
    x, z = module.in_proj(hidden_states).chunk(2, dim=-1)
    x = _masked(x, attention_mask)
    if cache_params is None:
        return _scanned(module, _convolved(module, x), z, attention_mask, None)[0]
    new = _window(x, module.conv_kernel_size) if is_first else x.transpose(1, 2)
    window = cache_params.update_conv_state(module.layer_idx, new, cache_position)
    x = _convolved(module, x) if is_first else _last_of(module, window)
    state = cache_params.ssm_states[module.layer_idx]
    out, last = _scanned(module, x, z, attention_mask, state.clone())
    state.copy_(last)
    return out


def _of_jamba_4(module: Any, hidden_states: Any, cache_params: Any = None, attention_mask: Any = None) -> Tensor:
    """JambaMambaMixer of transformers 4.57 and 5.0."""
    _check(module, hidden_states)
    (rows, steps, _), layer, cache = hidden_states.shape, module.layer_idx, cache_params
    if cache is not None:
        _check_old_cache(cache)
        if not len(cache.ssm_states[layer]) == len(cache.conv_states[layer]) == rows:
            raise Unsupported(f"the cache has another batch size than the input, {rows}")
    x, z = module.in_proj(hidden_states).chunk(2, dim=-1)
    x = _masked(x, attention_mask)
    if cache is None:
        return _scanned(module, _convolved(module, x), z, attention_mask, None)[0]
    if cache.has_previous_state and steps == 1:
        cache.conv_states[layer] = torch.cat([cache.conv_states[layer][:, :, 1:], x.transpose(1, 2)], dim=2)
        x = _last_of(module, cache.conv_states[layer])
    else:
        cache.conv_states[layer] = _window(x, module.conv_kernel_size)
        x = _convolved(module, x)
    out, cache.ssm_states[layer] = _scanned(module, x, z, attention_mask, cache.ssm_states[layer])
    return out


def _of_5(module: Any, hidden_states: Any, cache: Any = None, attention_mask: Any = None, **options: Any) -> Tensor:
    """All three mixers of transformers 5.24."""
    _check(module, hidden_states)
    layer, window, state = module.layer_idx, None, None
    if options:
        raise Unsupported(f"it was called with {', '.join(options)}")
    if cache is not None:
        window, state = cache.get_conv_state(layer, state_idx=0), cache.get_recurrent_state(layer, state_idx=0)
    if window is not None and (hidden_states.shape[1] != 1 or cache.is_recording_past(layer)):
        raise Unsupported("several steps continue a cache, or it records the past")
    x, z = module.in_proj(_masked(hidden_states, attention_mask)).chunk(2, dim=-1)
    if cache is not None:
        cache.update_conv_state(x.transpose(1, 2), layer, conv_kernel_size=module.conv_kernel_size)
    x = _convolved(module, x) if window is None else _last_of(module, window)  # a window is updated in place
    out, last = _scanned(module, x, z, attention_mask, state)
    if cache is not None:
        cache.update_recurrent_state(last, layer)
    return out


_FORMS: Final[dict[tuple[str, ...], Callable[..., Tensor]]] = {
    ("hidden_states", "cache_params", "cache_position", "attention_mask"): _of_4,
    ("hidden_states", "cache_params", "attention_mask"): _of_jamba_4,
    ("hidden_states", "cache", "attention_mask", "kwargs"): _of_5,
}


def _check(module: Any, hidden: Any) -> None:
    check_mixer(module)
    check_tensor("the input", hidden, module.A_log)
    if hidden.dim() != 3 or not hidden.numel():
        raise Unsupported(f"the input is {tuple(hidden.shape)}")


def _check_old_cache(cache: Any) -> None:
    if not hasattr(cache, "ssm_states"):
        raise Unsupported(f"the cache is a {type(cache).__name__}, not that of transformers 4.57")


def _masked(x: Tensor, mask: Any) -> Tensor:
    """x (N, T, D), with zeros where the mask (N, T) is 0."""
    return x if mask is None else (x * mask[:, :, None]).to(x.dtype)


def _window(x: Tensor, W: int) -> Tensor:
    """The last W steps of x (N, T, D), as (N, D, W), with zeros before the first one."""
    return F.pad(x.transpose(1, 2), (W - x.shape[1], 0))


def _convolved(module: Any, x: Tensor) -> Tensor:
    """x (N, T, D), from the first step on → silu of its convolution."""
    operands = [x.transpose(0, 1), module.conv1d.weight.squeeze(1), module.conv1d.bias, None]
    return apply(Convolution(silu=True), operands)[0].transpose(0, 1)


def _last_of(module: Any, window: Tensor) -> Tensor:
    """The last W steps before the convolution (N, D, W) → silu of its last step (N, 1, D)."""
    y = (window * module.conv1d.weight.squeeze(1)).sum(dim=-1)
    if module.conv1d.bias is not None:
        y = y + module.conv1d.bias
    return F.silu(y)[:, None]


def _scanned(module: Any, x: Tensor, z: Tensor, mask: Any, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    """x, z (N, T, D) and the state (N, D, K) before the first step → the result of the mixer, the last state."""
    x = _masked(x, mask)
    sizes = [module.time_step_rank, module.ssm_state_size, module.ssm_state_size]
    step, B, C = _normalised(module, *module.x_proj(x).split(sizes, dim=-1))
    if hasattr(module, "slow_forward"):
        delta, bias = module.dt_proj(step), None
    else:  # not a call of dt_proj, so that hooks and adapters of dt_proj are left out as in transformers
        delta, bias = F.linear(step, module.dt_proj.weight), module.dt_proj.bias
    A = -torch.exp(module.A_log)
    u, delta, B, C, z = (each.transpose(0, 1) for each in (x, delta, B, C, z))
    y, last = apply(Scan(softplus=True), [u, delta, A, B, C, module.D, z, bias, initial])
    return module.out_proj(y.transpose(0, 1)), last


def _normalised(module: Any, step: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Jamba and Falcon normalise the operands of the scan."""
    if hasattr(module, "dt_layernorm"):
        return module.dt_layernorm(step), module.b_layernorm(B), module.c_layernorm(C)
    if hasattr(module, "rms_eps"):  # Falcon in transformers 4.57
        norm = sys.modules[type(module).__module__].rms_forward
        step, B, C = (norm(each, variance_epsilon=module.rms_eps) for each in (step, B, C))
    return step, B, C
