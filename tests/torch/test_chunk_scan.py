"""mamba_chunk_scan_combined beside a textbook form in float64, and beside that of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.errors import refused
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import agree
from tests.torch.test_selective_scan import values_and_gradients
from xrnn.arrays.select import get_backend
from xrnn.torch import mamba_chunk_scan_combined


def textbook(
    x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, dt_bias: Any, initial: Any, limit: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Dao and Gu, 2024, step by step, in mamba_ssm's layouts."""
    heads = x.shape[2]
    step = F.softplus(dt + dt_bias).clamp(*limit)
    B, C = (each.repeat_interleave(heads // each.shape[2], dim=2) for each in (B, C))
    S = initial
    out = []
    for t in range(x.shape[1]):
        v = step[:, t, :, None] * x[:, t]
        S = torch.exp(step[:, t] * A)[..., None, None] * S + v[..., None] * B[:, t, :, None]
        out.append((S * C[:, t, :, None]).sum(-1))
    y = torch.stack(out, dim=1) + x * (D if D.dim() == 2 else D[:, None])
    return y * F.silu(z), S


def operands(N: int, L: int, heads: int, dim: int, groups: int, K: int) -> dict[str, Tensor]:
    return {
        "x": torch.randn(N, L, heads, dim),
        "dt": torch.randn(N, L, heads),
        "A": -torch.rand(heads) * 8,
        "B": torch.randn(N, L, groups, K),
        "C": torch.randn(N, L, groups, K),
        "D": torch.randn(heads),
        "z": torch.randn(N, L, heads, dim),
        "dt_bias": torch.randn(heads) - 2,
        "initial_states": torch.randn(N, heads, dim, K),
    }


def ours(*arguments: Any) -> Any:
    x, dt, A, B, C, D, z, dt_bias, initial, limit = arguments
    options: dict[str, Any] = {"dt_softplus": True, "dt_limit": limit, "return_final_states": True}
    return mamba_chunk_scan_combined(x, dt, A, B, C, 16, D, z, dt_bias, initial, **options)


@pytest.mark.parametrize("limit", [(0.0, float("inf")), (0.05, 0.3)])
@pytest.mark.parametrize("sizes", [(2, 37, 6, 5, 2, 9), (1, 1, 1, 1, 1, 1), (3, 70, 4, 34, 1, 16)])
def test_it_agrees_with_the_textbook(sizes: tuple[int, ...], limit: tuple[float, float]) -> None:
    given = operands(*sizes)
    if sizes[0] == 3:
        given["D"] = torch.randn(4, 34)
    want = values_and_gradients(textbook, {name: t.double() for name, t in given.items()}, limit)
    agree(values_and_gradients(ours, given, limit), [w.float() for w in want])
    agree(values_and_gradients(ours, {n: t.double() for n, t in given.items()}, limit), want)


@pytest.mark.needs("transformers", "bench")
def test_it_agrees_with_that_of_transformers() -> None:
    from transformers.models.mamba2 import modeling_mamba2 as modeling

    if not hasattr(modeling, "mamba2_chunk_scan"):
        pytest.skip("this version of transformers has no function for the scan")
    given = operands(2, 37, 6, 8, 2, 16)
    del given["z"]
    options: dict[str, Any] = {"chunk_size": 16, "dt_softplus": True, "return_final_states": True}
    want = modeling.mamba2_chunk_scan(
        **{"hidden_states": given["x"]} | {n: t for n, t in given.items() if n != "x"}, **options
    )
    agree(list(mamba_chunk_scan_combined(**given, **options)), list(want))


def test_operands_may_be_left_out() -> None:
    given = operands(2, 9, 4, 3, 2, 5)
    x, dt, A, B, C = list(given.values())[:5]
    zeros = torch.zeros(4), torch.full_like(x, 1.2784645427610738), torch.zeros(4), torch.zeros(2, 4, 3, 5)  # silu: 1
    want, _ = textbook(x, dt, A, B, C, *zeros, (0.0, float("inf")))
    agree([mamba_chunk_scan_combined(x, dt, A, B, C, dt_softplus=True)], [want])
    step = F.softplus(dt)
    agree([mamba_chunk_scan_combined(x, step, A, B, C, 64)], [want])
    agree([mamba_chunk_scan_combined(x, dt, A, B, C)], [mamba_chunk_scan_combined(x, dt.relu(), A, B, C)])
    half = mamba_chunk_scan_combined(x.bfloat16(), step, A, B, C)
    assert half.dtype is torch.bfloat16
    assert half.shape == x.shape


def test_it_runs_on_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    backend: Any = type(get_backend("numpy"))
    for name in ("matrix_memory_forward", "matrix_memory_backward"):
        original = getattr(backend, name)

        def counted(self: Any, *arguments: Any, _name: str = name, _original: Any = original) -> Any:
            calls.append(_name)
            return _original(self, *arguments)

        monkeypatch.setattr(backend, name, counted)
    given = {name: t.requires_grad_() for name, t in operands(2, 9, 4, 3, 2, 5).items()}
    mamba_chunk_scan_combined(**given, dt_softplus=True).sum().backward()
    assert calls == ["matrix_memory_forward", "matrix_memory_backward"]


def test_gradients_that_are_differentiated_again_are_computed_in_pytorch(fallbacks: Fallbacks) -> None:
    given = {name: t.double().requires_grad_() for name, t in operands(1, 4, 2, 3, 1, 2).items()}

    def scan(*tensors: Tensor) -> Any:
        return ours(*tensors, (0.0, float("inf")))

    assert torch.autograd.gradgradcheck(scan, tuple(given.values()))
    again = "mamba_chunk_scan_combined: the gradient runs in PyTorch: the gradient will be differentiated again"
    assert again in set(fallbacks.take())


def test_errors_name_the_argument() -> None:
    given = operands(2, 9, 6, 3, 2, 5)

    def scan(**changed: Any) -> Any:
        return lambda: mamba_chunk_scan_combined(**(given | changed))

    refused(
        (ValueError, scan(x=given["x"][0]), "x is (9, 6, 3): expected four axes"),
        (ValueError, scan(B=given["B"][0]), "B is (9, 2, 5): expected four axes"),
        (ValueError, scan(B=torch.randn(2, 9, 4, 5)), "B has 4 groups, which do not divide the 6 heads"),
        (ValueError, scan(C=given["C"][:, :8]), "C is (2, 8, 2, 5): expected (2, 9, 2, 5)"),
        (ValueError, scan(dt=given["dt"][:, :8]), "dt is (2, 8, 6): expected (2, 9, 6)"),
        (ValueError, scan(D=torch.randn(5)), "D is (5,): expected (6,) or (6, 3)"),
        (ValueError, scan(seq_idx=1), "seq_idx is not supported"),
        (ValueError, scan(cu_seqlens=1), "cu_seqlens is not supported"),
        (ValueError, scan(return_varlen_states=True), "return_varlen_states is not supported"),
        (ValueError, scan(dt_limit=(0.1,)), "dt_limit is (0.1,): expected two numbers"),
        (TypeError, scan(x=given["x"].int()), "x holds torch.int32, but `out` has its dtype"),
        (TypeError, scan(A=given["A"].cfloat()), "an operand is complex"),
    )
