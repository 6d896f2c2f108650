"""The forms of `forward` of MambaMixer, FalconMambaMixer and JambaMambaMixer, on the kernels."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xrnn.torch.mixer_steps import check_call, check_old_cache, convolved, last_of, masked, window_of
from xrnn.torch.operation import apply
from xrnn.torch.selective_scan import Scan
from xrnn.torch.unsupported import Unsupported


def of_4(
    module: Any,
    hidden_states: Any,
    cache_params: Any = None,
    cache_position: Any = None,
    attention_mask: Any = None,
) -> Tensor:
    """MambaMixer and FalconMambaMixer of transformers 4.57 and 5.0."""
    check_call(module, hidden_states)
    is_first = True
    if cache_params is not None:
        check_old_cache(cache_params)
        if cache_position is None:
            raise Unsupported("it was called with a cache, but without cache_position")
        is_first = cache_position.shape[0] == module.conv_kernel_size  # so does transformers recognise the first call
        if not is_first and hidden_states.shape[1] != 1:
            raise Unsupported("several steps continue a cache")
    x, z = module.in_proj(hidden_states).chunk(2, dim=-1)
    x = masked(x, attention_mask)
    if cache_params is None:
        return _scanned(module, convolved(module, x), z, attention_mask, None)[0]
    new = window_of(x, module.conv_kernel_size) if is_first else x.transpose(1, 2)
    window = cache_params.update_conv_state(module.layer_idx, new, cache_position)
    x = convolved(module, x) if is_first else last_of(module, window)
    state = cache_params.ssm_states[module.layer_idx]
    out, last = _scanned(module, x, z, attention_mask, state.clone())
    state.copy_(last)
    return out


def of_jamba_4(module: Any, hidden_states: Any, cache_params: Any = None, attention_mask: Any = None) -> Tensor:
    """JambaMambaMixer of transformers 4.57 and 5.0."""
    check_call(module, hidden_states)
    rows, steps, _ = hidden_states.shape
    layer = module.layer_idx
    cache = cache_params
    if cache is not None:
        check_old_cache(cache)
        if not len(cache.ssm_states[layer]) == len(cache.conv_states[layer]) == rows:
            raise Unsupported(f"the cache has another batch size than the input, {rows}")
    x, z = module.in_proj(hidden_states).chunk(2, dim=-1)
    x = masked(x, attention_mask)
    if cache is None:
        return _scanned(module, convolved(module, x), z, attention_mask, None)[0]
    if cache.has_previous_state and steps == 1:
        cache.conv_states[layer] = torch.cat([cache.conv_states[layer][:, :, 1:], x.transpose(1, 2)], dim=2)
        x = last_of(module, cache.conv_states[layer])
    else:
        cache.conv_states[layer] = window_of(x, module.conv_kernel_size)
        x = convolved(module, x)
    out, cache.ssm_states[layer] = _scanned(module, x, z, attention_mask, cache.ssm_states[layer])
    return out


def of_5(module: Any, hidden_states: Any, cache: Any = None, attention_mask: Any = None, **options: Any) -> Tensor:
    """All three mixers of transformers 5.24."""
    check_call(module, hidden_states)
    layer = module.layer_idx
    window = None
    state = None
    if options:
        raise Unsupported(f"it was called with {', '.join(options)}")
    if cache is not None:
        window = cache.get_conv_state(layer, state_idx=0)
        state = cache.get_recurrent_state(layer, state_idx=0)
    if window is not None and (hidden_states.shape[1] != 1 or cache.is_recording_past(layer)):
        raise Unsupported("several steps continue a cache, or it records the past")
    x, z = module.in_proj(masked(hidden_states, attention_mask)).chunk(2, dim=-1)
    if cache is not None:
        cache.update_conv_state(x.transpose(1, 2), layer, conv_kernel_size=module.conv_kernel_size)
    x = convolved(module, x) if window is None else last_of(module, window)  # a window is updated in place
    out, last = _scanned(module, x, z, attention_mask, state)
    if cache is not None:
        cache.update_recurrent_state(last, layer)
    return out


def _scanned(module: Any, x: Tensor, z: Tensor, mask: Any, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    """x, z (N, T, D) and the state (N, D, K) before the first step → the result of the mixer, the last state."""
    x = masked(x, mask)
    sizes = [module.time_step_rank, module.ssm_state_size, module.ssm_state_size]
    step, B, C = _normalised(module, *module.x_proj(x).split(sizes, dim=-1))
    if hasattr(module, "slow_forward"):
        delta = module.dt_proj(step)
        bias = None
    else:  # not a call of dt_proj, so that hooks and adapters of dt_proj are left out as in transformers
        delta = F.linear(step, module.dt_proj.weight)
        bias = module.dt_proj.bias
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
