"""Retention (RetNet; Sun et al., 2023), as functions with the signatures of flash-linear-attention.

flash-linear-attention needs Triton and a GPU. A program that imports its functions runs on a CPU with these instead:

    from xrnn.torch import chunk_retention, fused_recurrent_retention
"""

from __future__ import annotations

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
    head_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """flash-linear-attention's `chunk_retention` → (out (batch, T, heads, V), final_state or None).

        S[t] = γ S[t-1] + k[t] v[t]ᵀ        out[t] = scale · S[t]ᵀ q[t]        γ = 1 - 2⁻⁵⁻ʰ in head h = 0, 1, …

    q, k            (batch, T, heads, K)
    v               (batch, T, heads, V)
    scale           1 / √K by default
    initial_state   (batch, heads, K, V), the state before the first step; zeros by default

    `final_state` is (batch, heads, K, V) with `output_final_state`, and None without it; it has a gradient. `out` has
    the dtype of q. Float64 operands are computed in float64, all others in float32.

    Raises ValueError for other shapes, and for `cu_seqlens` or `head_first=True`; TypeError for a complex operand, or a
    q that does not hold floating-point numbers.
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
    cu_seqlens: None = None,
    head_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """flash-linear-attention's `fused_recurrent_retention`: `chunk_retention`, also backwards in time.

    reverse   start at the last step: `initial_state` is the state after it, and `final_state` that of the first step
    """
    if reverse:
        q, k, v = (x.flip(1) if x.dim() == 4 else x for x in (q, k, v))
    name = "fused_recurrent_retention"
    out, final = _retention(name, q, k, v, scale, initial_state, output_final_state, cu_seqlens, head_first)
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
) -> tuple[Tensor, Tensor | None]:
    if cu_seqlens is not None:
        raise ValueError("cu_seqlens is not supported; leave it out, and call the function for each sequence")
    if head_first:
        raise ValueError(
            "head_first=True is not supported: pass x.transpose(1, 2), (batch, T, heads, size), for q, k, v"
        )
    for operand, x in (("q", q), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"{operand} is {tuple(x.shape)}: expected four axes, (batch, T, heads, size)")
    (N, T, H, K), V = q.shape, v.shape[3]
    check_shapes({"k": (k, (N, T, H, K)), "v": (v, (N, T, H, V)), "initial_state": (initial_state, (N, H, K, V))})
    dtype = compute_dtype(q, k, v, initial_state)
    if not q.is_floating_point():
        raise TypeError(f"q holds {q.dtype}, but `out` has its dtype: expected floating-point numbers")
    heads = torch.arange(H, dtype=torch.float64, device=q.device)
    log_decay = torch.log1p(-torch.exp2(-5 - heads)).to(dtype).expand(T, N, H)
    queries = q.to(dtype) * (K**-0.5 if scale is None else scale)
    operands = [*(x.to(dtype).transpose(0, 1) for x in (queries, k, v)), log_decay]
    y, last = apply(MatrixMemory(name), [*operands, None if initial_state is None else initial_state.to(dtype)])
    return y.transpose(0, 1).to(q.dtype).contiguous(), last if output_final_state else None
