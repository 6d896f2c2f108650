"""The scans and the causal convolution of Mamba and Mamba-2, as functions with the signatures of mamba_ssm.

mamba_ssm and causal_conv1d run on CUDA only. A program that imports their functions runs on a CPU with these instead:

    from xrnn.torch import causal_conv1d_fn, mamba_chunk_scan_combined, selective_scan_fn, selective_state_update
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from math import inf
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xrnn.backend import Backend
from xrnn.ops.causal_convolution import ConvolutionInputs
from xrnn.ops.matrix_memory import MemoryInputs
from xrnn.ops.selective_scan import ScanInputs
from xrnn.torch.operation import Arrays, apply
from xrnn.torch.unsupported import in_dynamo
from xrnn.typing import Array, ArrayIfNeeded

_Function = TypeVar("_Function", bound=Callable[..., Any])


# ---- the operations ----


@dataclass(frozen=True, slots=True)
class Scan:
    """u, delta (T, N, D), A (D, K), B, C (T, N, K) or in another form of `ScanInputs`, skip (D,), z, bias, initial
    → y (T, N, D), last (N, D, K)."""

    softplus: bool
    name = "selective_scan_fn"

    def forward(self, backend: Backend, operands: Arrays, training: bool) -> tuple[tuple[Array, ...], ArrayIfNeeded]:
        y, last, saved = backend.selective_scan_forward(self._inputs(operands), training)
        return (y, last), saved

    def backward(self, backend: Backend, operands: Arrays, saved: ArrayIfNeeded, dresults: Arrays) -> Arrays:
        assert saved is not None
        return backend.selective_scan_backward(self._inputs(operands), saved, *dresults)

    def _inputs(self, operands: Any) -> ScanInputs:
        u, delta, A, B, C, skip, z, bias, initial = operands
        return ScanInputs(u, delta, A, B, C, skip, z, bias, self.softplus, initial)

    def in_pytorch(self, operands: Any) -> tuple[Tensor, ...]:
        u, delta, A, B, C, skip, z, bias, initial = operands
        if bias is not None:
            delta = delta + bias
        if self.softplus:
            delta = F.softplus(delta)
        S = u.new_zeros((*u.shape[1:], A.shape[1])) if initial is None else initial
        ys = []
        # `unbind` divides the operands into steps, because the gradient of each u[t] would be an array of the size of u
        operands = (delta, delta * u, *(_by_step(each, u) for each in (B, C)))
        for delta_t, v, B_t, C_t in zip(*(each.unbind() for each in operands), strict=True):
            S = torch.exp(delta_t[..., None] * A) * S + v[..., None] * B_t
            ys.append((S * C_t).sum(dim=-1))
        y = torch.stack(ys) if ys else torch.zeros_like(u)
        if skip is not None:
            y = y + skip * u
        return y if z is None else y * F.silu(z), S


def _by_step(B: Tensor, u: Tensor) -> Tensor:
    """B or C, which broadcasts to (T, N, D, K)."""
    if B.dim() == 2:
        return B.expand(len(u), 1, *B.shape)
    return B[:, :, None] if B.dim() == 3 else B.repeat_interleave(u.shape[2] // B.shape[2], dim=2)


@dataclass(frozen=True, slots=True)
class MatrixMemory:
    """q, k (T, N, G, K), v (T, N, H, V), log_decay (T, N, H), initial (N, H, K, V)
    → y (T, N, H, V), last (N, H, K, V)."""

    name: str  # of the function that the caller called

    def forward(self, backend: Backend, operands: Any, training: bool) -> tuple[tuple[Array, ...], ArrayIfNeeded]:
        y, last, saved = backend.matrix_memory_forward(MemoryInputs(*operands), training)
        return (y, last), saved

    def backward(self, backend: Backend, operands: Any, saved: ArrayIfNeeded, dresults: Arrays) -> Arrays:
        assert saved is not None
        return backend.matrix_memory_backward(MemoryInputs(*operands), saved, *dresults)

    def in_pytorch(self, operands: Any) -> tuple[Tensor, ...]:
        q, k, v, log_decay, initial = operands
        S = v.new_zeros((*v.shape[1:3], k.shape[3], v.shape[3])) if initial is None else initial
        if k.shape[2]:
            q, k = (each.repeat_interleave(v.shape[2] // each.shape[2], dim=2) for each in (q, k))
        ys = []
        for q_t, k_t, v_t, a_t in zip(*(each.unbind() for each in (q, k, v, torch.exp(log_decay))), strict=True):
            S = a_t[..., None, None] * S + k_t[..., None] * v_t[:, :, None]
            ys.append((S * q_t[..., None]).sum(dim=2))
        return torch.stack(ys) if ys else torch.zeros_like(v), S


@dataclass(frozen=True, slots=True)
class Convolution:
    """x (T, N, D), weight (D, W), bias (D,), initial (W - 1, N, D) → y (T, N, D), last (W - 1, N, D)."""

    silu: bool
    name = "causal_conv1d_fn"

    def forward(self, backend: Backend, operands: Arrays, training: bool) -> tuple[tuple[Array, ...], None]:
        return tuple(backend.causal_convolution_forward(self._inputs(operands))), None

    def backward(self, backend: Backend, operands: Arrays, saved: ArrayIfNeeded, dresults: Arrays) -> Arrays:
        return backend.causal_convolution_backward(self._inputs(operands), *dresults)

    def _inputs(self, operands: Any) -> ConvolutionInputs:
        x, weight, bias, initial = operands
        return ConvolutionInputs(x, weight, bias, self.silu, initial)

    def in_pytorch(self, operands: Any) -> tuple[Tensor, ...]:
        x, weight, bias, initial = operands
        D, W = weight.shape
        before = x.new_zeros((W - 1, *x.shape[1:])) if initial is None else initial
        padded = torch.cat([before, x])
        y = F.conv1d(padded.permute(1, 2, 0), weight[:, None], bias, groups=D).permute(2, 0, 1)
        return F.silu(y) if self.silu else y, padded[len(x) :].clone()


# ---- the functions ----


def outside_graphs(function: _Function) -> _Function:
    """torch.compile leaves `function` out of its graphs, as it does with recurrent modules; torch.export records it."""

    @wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        if in_dynamo() and not torch.compiler.is_exporting():
            return torch.compiler.disable(function)(*arguments, **options)
        return function(*arguments, **options)

    return called  # type: ignore[return-value]


@outside_graphs
def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Any:
    """mamba_ssm's `selective_scan_fn` → out (batch, dim, L), or (out, last_state) with `return_last_state`.

    u, delta, z     (batch, dim, L)
    A               (dim, N), real
    B, C            (batch, N, L); (batch, groups, N, L), each group for dim / groups neighbouring channels; or (dim, N)
    D, delta_bias   (dim,)

    `last_state` is (batch, dim, N); unlike mamba_ssm's, it has a gradient. `out` has the dtype of u, and u's order of
    axes in memory. Float64 operands are computed in float64, all others in float32. Operands whose channels are
    neighbours in memory, such as `x.transpose(1, 2)` of a contiguous (batch, L, dim) array, are not copied.

    Raises ValueError for other shapes, TypeError for a complex A, B or C.
    """
    _check_scan(u, A, B, C, {"delta": delta, "z": z, "D": D, "delta_bias": delta_bias})
    dtype = compute_dtype(u, delta, A, B, C, D, z, delta_bias)
    operands = [
        *(_time_first(x, dtype) for x in (u, delta)),
        A.to(dtype),
        *(_time_first(x, dtype) if x.dim() > 2 else x.to(dtype) for x in (B, C)),
        _to(D, dtype),
        None if z is None else _time_first(z, dtype),
        _to(delta_bias, dtype),
        None,
    ]
    y, last = apply(Scan(bool(delta_softplus)), operands)
    out = _channels_second(y, like=u)
    return (out, last) if return_last_state else out


@outside_graphs
def mamba_chunk_scan_combined(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int | None = None,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    seq_idx: None = None,
    cu_seqlens: None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, inf),
    return_final_states: bool = False,
    return_varlen_states: bool = False,
) -> Any:
    """mamba_ssm's `mamba_chunk_scan_combined`, the scan of Mamba-2 → out (batch, L, heads, dim), or (out,
    final_states) with `return_final_states`.

    x, z             (batch, L, heads, dim)
    dt               (batch, L, heads); dt_bias is added, softplus taken, and the result bounded by dt_limit: by
                     default, negative steps become 0
    A, dt_bias       (heads,)
    B, C             (batch, L, groups, N), each group for heads / groups neighbouring heads
    D                (heads,) or (heads, dim)
    initial_states   (batch, heads, dim, N), the states before the first step; zeros by default
    chunk_size       is ignored

    `final_states` are (batch, heads, dim, N), and have a gradient. `out` has the dtype of x. Float64 operands are
    computed in float64, all others in float32.

    Raises ValueError for other shapes, and for `seq_idx`, `cu_seqlens` or `return_varlen_states`; TypeError for a
    complex operand, or an x that does not hold floating-point numbers.
    """
    of_sequences = {
        "seq_idx": seq_idx is not None,
        "cu_seqlens": cu_seqlens is not None,
        "return_varlen_states": return_varlen_states,
    }
    for name, is_given in of_sequences.items():
        if is_given:
            raise ValueError(f"{name} is not supported; leave it out, and call the function for each sequence")
    if x.dim() != 4 or B.dim() != 4:
        name, given = ("x", x) if x.dim() != 4 else ("B", B)
        raise ValueError(f"{name} is {tuple(given.shape)}: expected four axes, (batch, L, heads or groups, size)")
    N, L, H, V = x.shape
    groups, K = B.shape[2:]
    if not groups or H % groups:
        raise ValueError(f"B has {groups} groups, which do not divide the {H} heads of x")
    shapes = {"dt": (dt, (N, L, H)), "A": (A, (H,)), "dt_bias": (dt_bias, (H,)), "z": (z, (N, L, H, V))}
    shapes |= {"B": (B, (N, L, groups, K)), "C": (C, (N, L, groups, K))}
    shapes |= {"initial_states": (initial_states, (N, H, V, K))}
    check_shapes(shapes)
    if D is not None and tuple(D.shape) not in ((H,), (H, V)):
        raise ValueError(f"D is {tuple(D.shape)}: expected ({H},) or ({H}, {V})")
    if len(dt_limit) != 2:
        raise ValueError(f"dt_limit is {dt_limit}: expected two numbers, the least and the greatest step")
    dtype = compute_dtype(x, dt, A, B, C, D, z, dt_bias, initial_states)
    if not x.is_floating_point():
        raise TypeError(f"x holds {x.dtype}, but `out` has its dtype: expected floating-point numbers")
    u = x.to(dtype)
    step = dt.to(dtype)
    if dt_bias is not None:
        step = step + dt_bias.to(dtype)
    if dt_softplus:
        step = F.softplus(step)
    if dt_limit != (0.0, inf) or not dt_softplus:  # a softplus is positive
        step = step.clamp(*dt_limit)
    operands = [C.to(dtype), B.to(dtype), u * step[..., None], step * A.to(dtype)]
    initial = None if initial_states is None else initial_states.to(dtype).transpose(2, 3)
    out, last = apply(
        MatrixMemory("mamba_chunk_scan_combined"), [*(each.transpose(0, 1) for each in operands), initial]
    )
    del operands  # without gradients, u · step is freed before the next arrays are made
    out = out.transpose(0, 1)
    if D is not None:
        out = torch.addcmul(out, u, (D if D.dim() == 2 else D[:, None]).to(dtype))
    if z is not None:
        out = out * F.silu(z.to(dtype))
    out = out.to(x.dtype).contiguous()
    return (out, last.transpose(2, 3)) if return_final_states else out


@outside_graphs
def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
) -> Tensor:
    """mamba_ssm's `selective_state_update`: one step; updates `state` in place → out, in the shape and dtype of x.

    state         (batch, dim, N)
    x, dt, z      (batch, dim)
    A             (dim, N)
    B, C          (batch, N), or (batch, groups, N)
    D, dt_bias    (dim,)

    All but B and C may have a further axis of heads in front of `dim`, for Mamba-2. Like mamba_ssm's, it has no
    gradient.

    Raises ValueError for other shapes.
    """
    sizes = tuple(x.shape)
    K = state.shape[-1]
    shapes = {"state": (state, (*sizes, K)), "dt": (dt, sizes), "A": (A, (*sizes[1:], K)), "z": (z, sizes)}
    shapes |= {"D": (D, sizes[1:]), "dt_bias": (dt_bias, sizes[1:])}
    check_shapes(shapes)
    with torch.no_grad():
        first = (sizes[0], -1)
        dtype = compute_dtype(state, x, dt, A, B, C, D, z, dt_bias)
        operands = [
            x.reshape(1, *first),
            dt.reshape(1, *first),
            A.reshape(-1, K),
            B[None],
            C[None],
            None if D is None else D.reshape(-1),
            None if z is None else z.reshape(1, *first),
            None if dt_bias is None else dt_bias.reshape(-1),
            state.reshape(*first, K),
        ]
        y, last = apply(Scan(bool(dt_softplus)), [_to(operand, dtype) for operand in operands])
        state.copy_(last.view(state.shape))
        return y.view(sizes).to(x.dtype)


@outside_graphs
def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Any:
    """causal_conv1d's `causal_conv1d_fn` → out (batch, dim, L), or (out, final_states) with `return_final_states`.

    x                (batch, dim, L)
    weight           (dim, width); the last tap multiplies the x of the same step
    bias             (dim,)
    initial_states   (batch, dim, width - 1), the x before the first step; zeros by default
    activation       None, "silu" or "swish"

    `final_states` are the last width - 1 steps of x, as initial states of the next call; they are written to
    `final_states_out` if it is given. Dtypes and memory as in `selective_scan_fn`.

    Raises ValueError for other shapes or activations, and for a `seq_idx`.
    """
    if seq_idx is not None:
        raise ValueError("seq_idx is not supported: expected None; call causal_conv1d_fn for each sequence")
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"activation is {activation!r}: expected None, 'silu' or 'swish'")
    N, D, _ = _three_axes("x", x)
    if weight.dim() != 2 or len(weight) != D or not weight.shape[1]:
        raise ValueError(f"weight is {tuple(weight.shape)}: expected ({D}, width), for x {tuple(x.shape)}")
    W = weight.shape[1]
    check_shapes({"bias": (bias, (D,)), "initial_states": (initial_states, (N, D, W - 1))})
    dtype = compute_dtype(x, weight, bias, initial_states)
    initial = None if initial_states is None or W == 1 else _time_first(initial_states, dtype)
    y, last = apply(
        Convolution(activation is not None), [_time_first(x, dtype), _to(weight, dtype), _to(bias, dtype), initial]
    )
    out = _channels_second(y, like=x)
    if not return_final_states:
        return out
    final = last.permute(1, 2, 0).to(x.dtype)
    return out, final if final_states_out is None else final_states_out.copy_(final)


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """float64 if a tensor has it, else float32. Raises TypeError for complex tensors."""
    dtypes = {t.dtype for t in tensors if t is not None}
    if any(dtype.is_complex for dtype in dtypes):
        raise TypeError("an operand is complex: expected real ones; a complex A runs in mamba_ssm only")
    return torch.float64 if torch.float64 in dtypes else torch.float32


def _to(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype)


def _time_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(batch, …, L) → (L, batch, …), a view unless the dtype differs."""
    return x.movedim(-1, 0).to(dtype)


def _channels_second(y: Tensor, like: Tensor) -> Tensor:
    """y (L, batch, dim) as (batch, dim, L), in the dtype and the order in memory of `like`."""
    out = y.permute(1, 2, 0).to(like.dtype)
    return out if like.stride(1) == 1 else out.contiguous()


def _three_axes(name: str, x: Tensor) -> torch.Size:
    if x.dim() != 3:
        raise ValueError(f"{name} is {tuple(x.shape)}: expected (batch, dim, L)")
    return x.shape


def _check_scan(u: Tensor, A: Tensor, B: Tensor, C: Tensor, others: dict[str, Tensor | None]) -> None:
    N, D, L = _three_axes("u", u)
    if A.dim() != 2 or len(A) != D:
        raise ValueError(f"A is {tuple(A.shape)}: expected ({D}, N), for u {tuple(u.shape)}")
    K = A.shape[1]
    for name, x in (("B", B), ("C", C)):
        groups = x.shape[1] if x.dim() == 4 else 1
        by_form = {2: (D, K), 3: (N, K, L), 4: (N, groups, K, L)}
        if tuple(x.shape) != by_form.get(x.dim()) or not groups or D % groups:
            raise ValueError(
                f"{name} is {tuple(x.shape)}: expected {by_form[3]}, ({N}, groups, {K}, {L}) with groups that divide "
                f"{D}, or {by_form[2]}"
            )
    for name, tensor in others.items():
        check_shapes({name: (tensor, (N, D, L) if name in ("delta", "z") else (D,))})


def check_shapes(expected: dict[str, tuple[Tensor | None, tuple[int, ...]]]) -> None:
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}: expected {shape}")
