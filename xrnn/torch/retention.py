"""Retention (RetNet; Sun et al., 2023), as functions with the signatures of flash-linear-attention 0.6.

flash-linear-attention needs Triton and a GPU. A program that imports its functions runs on a CPU with these instead:

    from xrnn.torch import chunk_retention, fused_recurrent_retention
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xrnn.torch.operation import apply
from xrnn.torch.selective_scan import MatrixMemory, check_shapes, compute_dtype, outside_graphs


@outside_graphs
def chunk_retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: None = None,
    *,
    chunk_size: int | None = None,
    head_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """flash-linear-attention's `chunk_retention` → (out (batch, T, heads, V), final_state or None).

        S[t] = γ S[t-1] + k[t] v[t]ᵀ        out[t] = scale · S[t]ᵀ q[t]        γ = 1 - 2⁻⁵⁻ʰ in head h = 0, 1, …

    q, k            (batch, T, heads, K)
    v               (batch, T, heads, V)
    scale           1 / √K by default
    initial_state   (batch, heads, K, V), the state before the first step; zeros by default
    chunk_size      is ignored
    head_first      an argument of older versions of flash-linear-attention

    `final_state` is (batch, heads, K, V) with `output_final_state`, and None without it; it has a gradient. `out` has
    the dtype of q. Float64 operands are computed in float64, all others in float32.

    Raises ValueError for other shapes, and for `cu_seqlens` or `head_first=True`; TypeError for an operand that is
    complex or no tensor, or a q that does not hold floating-point numbers.
    """
    return _retention("chunk_retention", q, k, v, scale, initial_state, output_final_state, cu_seqlens, head_first)


@outside_graphs
def fused_recurrent_retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    reverse: bool = False,
    state_v_first: bool = False,
    cu_seqlens: None = None,
    *,
    head_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """flash-linear-attention's `fused_recurrent_retention`: `chunk_retention`, also backwards in time.

    reverse         go from the last step to the first: `initial_state` is the state before the last step, and
                    `final_state` the state after the first step
    state_v_first   `initial_state` and `final_state` are (batch, heads, V, K)
    """
    _check_are_tensors({"q": q, "k": k, "v": v, "initial_state": initial_state})
    if reverse:
        q, k, v = (x.flip(1) if x.dim() == 4 else x for x in (q, k, v))
    name = "fused_recurrent_retention"
    out, final = _retention(
        name, q, k, v, scale, initial_state, output_final_state, cu_seqlens, head_first, state_v_first
    )
    return out.flip(1) if reverse else out, final


def _retention(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None,
    initial_state: Tensor | None,
    output_final_state: bool,
    cu_seqlens: None,
    head_first: bool,
    state_v_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    _check_are_tensors({"q": q, "k": k, "v": v, "initial_state": initial_state})
    if cu_seqlens is not None:
        raise ValueError("cu_seqlens is not supported; leave it out, and call the function for each sequence")
    if head_first:
        raise ValueError(
            "head_first=True is not supported: pass x.transpose(1, 2), (batch, T, heads, size), for q, k, v"
        )
    for operand, x in (("q", q), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"{operand} is {tuple(x.shape)}: expected four axes, (batch, T, heads, size)")
    N, T, H, K = q.shape
    V = v.shape[3]
    state_shape = (N, H, V, K) if state_v_first else (N, H, K, V)
    check_shapes({"k": (k, (N, T, H, K)), "v": (v, (N, T, H, V)), "initial_state": (initial_state, state_shape)})
    if state_v_first and initial_state is not None:
        initial_state = initial_state.mT
    dtype = compute_dtype(q, k, v, initial_state)
    if not q.is_floating_point():
        raise TypeError(f"q holds {q.dtype}, but `out` has its dtype: expected floating-point numbers")
    heads = torch.arange(H, dtype=torch.float64, device=q.device)
    log_decay = torch.log1p(-torch.exp2(-5 - heads)).to(dtype).expand(T, N, H)
    if scale is None:
        scale = K**-0.5 if K else 1.0
    queries = q.to(dtype) * scale
    operands = [*(x.to(dtype).transpose(0, 1) for x in (queries, k, v)), log_decay]
    y, last = apply(MatrixMemory(name), [*operands, None if initial_state is None else initial_state.to(dtype)])
    final = last.mT.contiguous() if state_v_first else last
    return y.transpose(0, 1).to(q.dtype).contiguous(), final if output_final_state else None


def _check_are_tensors(operands: dict[str, Any]) -> None:
    for name, operand in operands.items():
        if operand is not None and not isinstance(operand, Tensor):
            raise TypeError(
                f"{name} is a {type(operand).__name__}: expected a tensor; for an array, torch.from_numpy(…)"
            )
