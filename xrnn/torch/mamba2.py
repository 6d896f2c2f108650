"""The forms of `forward` of Mamba-2's mixers, on the kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xrnn.torch.mixer_steps import check_call, check_old_cache, convolved, last_of, masked, window_of
from xrnn.torch.selective_scan import mamba_chunk_scan_combined
from xrnn.torch.unsupported import Unsupported, check_tensor


@dataclass(frozen=True, slots=True)
class _Past:
    """The cache of a mixer before a call, and how to update it. Without a cache, nothing is updated."""

    window: Tensor | None = None  # (N, D, W), the last steps before the convolution; None if the sequence begins
    state: Tensor | None = None  # (N, H, V, K); None if the sequence begins
    add_inputs: Callable[[Tensor], object] = lambda x: None  # x (N, T, D); changes `window` in place
    set_state: Callable[[Tensor], object] = lambda last: None  # changes `state` in place


# ---- the three forms ----


def of_4(
    module: Any,
    hidden_states: Any,
    cache_params: Any = None,
    cache_position: Any = None,
    attention_mask: Any = None,
) -> Tensor:
    """Mamba2Mixer of transformers 4.57."""
    check_call(module, hidden_states)
    continues = cache_params is not None and cache_position is not None and bool(cache_position[0] > 0)
    if continues and hidden_states.shape[1] != 1:
        raise Unsupported("several steps continue a cache")
    past = _old_past(module, hidden_states, cache_params, continues)
    return _run(module, hidden_states, _old_mask(attention_mask), past, module.time_step_limit)


def of_hybrid_4(
    module: Any,
    hidden_states: Any,
    cache_params: Any = None,
    cache_position: Any = None,
    attention_mask: Any = None,
    seq_idx: Any = None,
    **options: Any,  # transformers ignores them
) -> Tensor:
    """BambaMixer, FalconH1Mixer and GraniteMoeHybridMambaLayer of transformers 4.57."""
    check_call(module, hidden_states)
    if seq_idx is not None:
        raise Unsupported("it was called with seq_idx")
    continues = False  # several steps begin a sequence, whatever the cache holds
    if cache_params is not None and cache_params.has_previous_state and hidden_states.shape[1] == 1:
        continues = cache_position is not None and bool(cache_position[0] > 0)
    past = _old_past(module, hidden_states, cache_params, continues)
    return _run(module, hidden_states, _old_mask(attention_mask), past, module.time_step_limit)


def of_5(module: Any, hidden_states: Any, cache: Any = None, attention_mask: Any = None, **options: Any) -> Tensor:
    """All mixers of transformers 5.24."""
    check_call(module, hidden_states)
    for name in ("seq_idx", "cu_seqlens"):  # transformers' own functions for the CPU ignore all other options
        if options.get(name) is not None:
            raise Unsupported(f"it was called with {name}")
    layer = module.layer_idx
    W = module.conv_kernel_size
    past = _Past()
    if cache is not None:
        past = _Past(
            cache.get_conv_state(layer, state_idx=0),
            cache.get_recurrent_state(layer, state_idx=0),
            lambda x: cache.update_conv_state(x.transpose(1, 2), layer, conv_kernel_size=W),
            lambda last: cache.update_recurrent_state(last, layer),
        )
    if past.window is not None and cache.is_recording_past(layer):
        raise Unsupported("the cache records the past")
    continues = past.state is not None and hidden_states.shape[1] == 1
    # transformers does not limit the step of a single token that continues a cache
    limits = (0.0, inf) if continues else module.time_step_limit
    return _run(module, hidden_states, attention_mask, past, limits)


def _old_past(module: Any, hidden: Tensor, cache: Any, continues: bool) -> _Past:
    """The cache of transformers 4.57. If the call does not continue it, it is overwritten."""
    if cache is None:
        return _Past()
    check_old_cache(cache)
    window = cache.conv_states[module.layer_idx]
    state = cache.ssm_states[module.layer_idx]
    for part in (window, state):
        check_tensor("the cache", part, hidden)
        if len(part) != len(hidden):
            raise Unsupported(f"the cache has another batch size than the input, {len(hidden)}")
    if not continues:
        return _Past(add_inputs=lambda x: window.copy_(window_of(x, window.shape[2])), set_state=state.copy_)
    return _Past(
        window, state, lambda x: window.copy_(torch.cat([window[:, :, 1:], x.transpose(1, 2)], dim=2)), state.copy_
    )


def _old_mask(mask: Any) -> Any:
    """transformers 4.57 ignores the mask of a single row or step."""
    return mask if mask is not None and mask.shape[0] > 1 and mask.shape[1] > 1 else None


# ---- the steps of a mixer ----


def _run(module: Any, hidden: Tensor, mask: Any, past: _Past, limits: tuple[float, float]) -> Tensor:
    """hidden (N, T, E) → the result of the mixer.

    limits   the least and the greatest step
    """
    columns = [module.intermediate_size, module.conv_dim, module.num_heads]
    z, x, step = _projected(module, masked(hidden, mask)).split(columns, dim=-1)
    if past.window is not None and past.state is not None and hidden.shape[1] == 1 and not torch.is_grad_enabled():
        past.add_inputs(x)
        y = _one_step(module, masked(last_of(module, past.window), mask), step, limits, past.state)
    else:
        y = convolved(module, x, _before(past.window))
        past.add_inputs(x)
        y, last = _scanned(module, masked(y, mask), step, limits, past.state)
        past.set_state(last)
    # the norm applies the gate; Falcon-H1 may have no norm
    y = module.norm(y, z) if getattr(module, "mamba_rms_norm", True) else y * F.silu(z)
    out: Tensor = module.out_proj(y)
    return out


def _projected(module: Any, hidden: Tensor) -> Tensor:
    projected: Tensor
    if hasattr(module, "mup_vector"):  # Falcon-H1
        projected = module.in_proj(hidden * module.ssm_in_multiplier) * module.mup_vector
    else:
        projected = module.in_proj(hidden)
    return projected


def _before(window: Tensor | None) -> Tensor | None:
    """The last W steps before the convolution, (N, D, W) → W - 1 of them, (W - 1, N, D)."""
    if window is None or window.shape[2] == 1:
        return None
    return window[:, :, 1:].permute(2, 0, 1).clone()  # the window will change in place


def _scanned(
    module: Any, x: Tensor, step: Tensor, limits: tuple[float, float], state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The scan of x (N, T, D), the result of the convolution → y (N, T, H·V), and the last state (N, H, V, K)."""
    if state is not None and torch.is_grad_enabled():
        state = state.clone()  # it will change in place
    u, B, C = _operands(module, x)
    y, last = mamba_chunk_scan_combined(
        u,
        step,
        -torch.exp(module.A_log),
        B,
        C,
        D=module.D,
        dt_bias=module.dt_bias,
        initial_states=state,
        dt_softplus=True,
        dt_limit=(limits[0], limits[1]),
        return_final_states=True,
    )
    return y.flatten(2), last


def _one_step(module: Any, x: Tensor, step: Tensor, limits: tuple[float, float], state: Tensor) -> Tensor:
    """`_scanned` of a single step, which updates `state` in place.

    PyTorch's operations do it in three passes over the state. The kernels would also copy it twice, since their states
    are (N, H, K, V).
    """
    u, B, C = _operands(module, x)
    N, _, H, V = u.shape
    G, K = B.shape[2:]
    u = u.view(N, H, V)
    step = F.softplus(step.view(N, H) + module.dt_bias).clamp(*limits)
    state.mul_(torch.exp(step * -torch.exp(module.A_log))[..., None, None])
    by_group = state.view(N, G, H // G, V, K)
    by_group.addcmul_((u * step[..., None]).view(N, G, H // G, V, 1), B.view(N, G, 1, 1, K))
    y = torch.matmul(by_group, C.view(N, G, 1, K, 1)).view(N, H, V) + u * module.D[:, None]
    return y.view(N, 1, H * V)


def _operands(module: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The columns of x: u (N, T, H, V), and B and C (N, T, G, K)."""
    G, K = module.n_groups, module.ssm_state_size
    u, B, C = x.split([module.intermediate_size, G * K, G * K], dim=-1)
    return u.unflatten(2, (module.num_heads, module.head_dim)), B.unflatten(2, (G, K)), C.unflatten(2, (G, K))
