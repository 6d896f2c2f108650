"""selective_scan_fn, selective_state_update and causal_conv1d_fn beside textbook forms in float64."""

from __future__ import annotations

import functools
from typing import Any, Final

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.errors import refused
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import agree
from xrnn.arrays.select import get_backend
from xrnn.backend import Backend
from xrnn.torch import causal_conv1d_fn, selective_scan_fn, selective_state_update

NAMES: Final = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


def textbook_scan(
    u: Any,
    delta: Any,
    A: Any,
    B: Any,
    C: Any,
    D: Any = None,
    z: Any = None,
    delta_bias: Any = None,
    softplus: Any = False,
) -> tuple[Tensor, Tensor]:
    """Gu and Dao, 2023, algorithm 2, in mamba_ssm's layouts."""
    N, dim, L = u.shape
    delta = delta if delta_bias is None else delta + delta_bias[:, None]
    delta = F.softplus(delta) if softplus else delta
    B, C = (_of_channels(each, N, dim, L) for each in (B, C))
    S = u.new_zeros(N, dim, A.shape[1])
    out = []
    for t in range(L):
        S = torch.exp(delta[:, :, t, None] * A) * S + (delta * u)[:, :, t, None] * B[..., t]
        out.append((S * C[..., t]).sum(-1))
    y = torch.stack(out, dim=-1)
    y = y if D is None else y + D[:, None] * u
    return (y if z is None else y * F.silu(z)), S


def _of_channels(B: Tensor, N: int, dim: int, L: int) -> Tensor:
    """B or C as (N, dim, K, L)."""
    if B.dim() == 2:
        return B[None, :, :, None].expand(N, -1, -1, L)
    grouped = B[:, None] if B.dim() == 3 else B
    return grouped.repeat_interleave(dim // grouped.shape[1], dim=1)


def operands(
    N: int, dim: int, L: int, K: int, form: str = "NKL", dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    shape = {"NKL": (N, K, L), "NGKL": (N, dim // 2, K, L), "DK": (dim, K)}[form]
    return {
        "u": torch.randn(N, dim, L, dtype=dtype),
        "delta": torch.randn(N, dim, L, dtype=dtype),
        "A": -torch.rand(dim, K, dtype=dtype) * 8,
        "B": torch.randn(shape, dtype=dtype),
        "C": torch.randn(shape, dtype=dtype),
        "D": torch.randn(dim, dtype=dtype),
        "z": torch.randn(N, dim, L, dtype=dtype),
        "delta_bias": torch.randn(dim, dtype=dtype) - 2,
    }


def values_and_gradients(function: Any, given: dict[str, Tensor], *arguments: Any) -> list[Tensor]:
    """The results of `function`, and the gradients of a loss that depends on every element of each."""
    leaves = {name: t.detach().requires_grad_() for name, t in given.items()}
    results = function(*leaves.values(), *arguments)
    waves = [torch.arange(1, r.numel() + 1, dtype=r.dtype).reshape(r.shape).sin() for r in results]
    loss = sum((r * wave).sum() for r, wave in zip(results, waves, strict=True))
    return [*results, *torch.autograd.grad(loss, list(leaves.values()))]


@pytest.mark.parametrize("form", ["NKL", "NGKL", "DK"])
@pytest.mark.parametrize("sizes", [(2, 6, 37, 5), (1, 2, 1, 1), (3, 34, 20, 16)])
def test_the_scan_agrees_with_the_textbook(sizes: tuple[int, int, int, int], form: str) -> None:
    given = operands(*sizes, form)
    want = values_and_gradients(textbook_scan, {name: t.double() for name, t in given.items()}, True)
    got = values_and_gradients(selective_scan_fn, given, True, True)
    agree(got, [w.float() for w in want])
    agree(values_and_gradients(selective_scan_fn, {n: t.double() for n, t in given.items()}, True, True), want)


def test_operands_may_be_left_out() -> None:
    given = operands(2, 6, 9, 4)
    del given["D"], given["z"], given["delta_bias"]
    given["delta"] = given["delta"].abs()
    want = values_and_gradients(textbook_scan, {name: t.double() for name, t in given.items()})
    names = list(given)
    got = values_and_gradients(
        lambda *tensors: selective_scan_fn(**dict(zip(names, tensors, strict=True)), return_last_state=True), given
    )
    agree(got, [w.float() for w in want])
    assert torch.equal(selective_scan_fn(*given.values()), got[0])  # without the last state


def test_operands_and_result_are_channels_last_in_memory_if_u_is() -> None:
    given = operands(2, 6, 9, 4)
    want = selective_scan_fn(**given, delta_softplus=True)
    assert want.is_contiguous()
    last = {n: t.movedim(-1, 1).contiguous().movedim(1, -1) if t.dim() == 3 else t for n, t in given.items()}
    got = selective_scan_fn(**last, delta_softplus=True)
    assert got.stride(1) == 1
    agree([got], [want])


def test_half_precision_is_computed_in_float32() -> None:
    given = operands(2, 6, 9, 4)
    half = {n: t if n in ("A", "D", "delta_bias") else t.bfloat16() for n, t in given.items()}
    out, last = selective_scan_fn(**half, delta_softplus=True, return_last_state=True)
    want, state = selective_scan_fn(
        **{n: t.float() for n, t in half.items()}, delta_softplus=True, return_last_state=True
    )
    assert last.dtype is torch.float32
    assert torch.equal(out, want.bfloat16())
    assert torch.equal(last, state)
    with torch.autocast("cpu", torch.bfloat16):  # as for mamba_ssm's kernels: the caller chooses the dtypes
        assert torch.equal(selective_scan_fn(**half, delta_softplus=True), out)
        assert selective_scan_fn(**given, delta_softplus=True).dtype is torch.float32


def test_the_scan_runs_on_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("selective_scan_forward", "selective_scan_backward", "causal_convolution_forward"):
        backend: Any = type(get_backend("numpy"))
        original = getattr(backend, name)

        def counted(
            self: Backend, *arguments: Any, _name: str = name, _original: Any = original, **options: Any
        ) -> Any:
            calls.append(_name)
            return _original(self, *arguments, **options)

        monkeypatch.setattr(backend, name, counted)
    given = {name: t.requires_grad_() for name, t in operands(2, 6, 9, 4).items()}
    selective_scan_fn(**given, delta_softplus=True).sum().backward()
    causal_conv1d_fn(given["u"].detach(), given["A"].detach())
    assert calls == ["selective_scan_forward", "selective_scan_backward", "causal_convolution_forward"]


# ---- one step ----


@pytest.mark.parametrize("grouped", [False, True])
def test_state_updates_continue_a_scan(grouped: bool) -> None:
    given = operands(2, 6, 9, 4, "NGKL" if grouped else "NKL")
    want, last = selective_scan_fn(**given, delta_softplus=True, return_last_state=True)
    state = torch.zeros(2, 6, 4)
    for t in range(9):
        u, delta, A, B, C, D, z, bias = (each[..., t] if each.dim() > 2 else each for each in given.values())
        out = selective_state_update(state, u, delta, A, B, C, D, z, bias, dt_softplus=True)
        agree([out], [want[..., t]])
    agree([state], [last])


def test_a_state_update_of_heads_is_one_of_their_channels() -> None:
    """As Mamba-2 calls it: A, D and dt of a head are the same for all of its channels."""
    N, H, P, K, G = 2, 4, 3, 5, 2
    x, z, state = torch.randn(N, H, P), torch.randn(N, H, P), torch.randn(N, H, P, K, dtype=torch.bfloat16)
    dt, bias, D = (torch.randn(*size, 1).expand(*size, P) for size in ((N, H), (H,), (H,)))
    A = -torch.rand(H, 1, 1).expand(H, P, K)
    B, C = torch.randn(N, G, K), torch.randn(N, G, K)
    before = state.double()
    step = F.softplus((dt + bias).double())[..., None]
    B_h, C_h = (each.double().repeat_interleave(H // G, dim=1)[:, :, None] for each in (B, C))
    want_state = torch.exp(step * A) * before + step * B_h * x.double()[..., None]
    want = ((want_state * C_h).sum(-1) + D * x) * F.silu(z.double())
    out = selective_state_update(state, x, dt, A, B, C, D, z, bias, dt_softplus=True)
    agree([out], [want.float()])
    assert torch.equal(state, want_state.bfloat16())


# ---- the convolution ----


def textbook_convolution(x: Tensor, weight: Tensor, bias: Tensor, *initial: Tensor, silu: bool) -> list[Tensor]:
    padded = torch.cat([*initial, x], dim=-1)
    taps = [weight[:, j, None] * padded[:, :, j : j + x.shape[2]] for j in range(weight.shape[1])]
    y = sum(taps, bias[:, None].expand_as(x))
    return [F.silu(y) if silu else y, *(padded[:, :, x.shape[2] :] for _ in initial)]


@pytest.mark.parametrize(("N", "D", "L", "W"), [(2, 5, 11, 4), (1, 1, 1, 3), (3, 17, 2, 4), (2, 4, 6, 1)])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_the_convolution_agrees_with_the_textbook(activation: str | None, N: int, D: int, L: int, W: int) -> None:
    given = {"x": torch.randn(N, D, L), "weight": torch.randn(D, W), "bias": torch.randn(D)}
    given["initial"] = torch.randn(N, D, W - 1)
    if W == 1:
        del given["initial"]
    doubles = {name: t.double() for name, t in given.items()}
    want = values_and_gradients(functools.partial(textbook_convolution, silu=activation is not None), doubles)

    def ours(x: Tensor, weight: Tensor, bias: Tensor, *initial: Tensor) -> Any:
        results: Any = causal_conv1d_fn(
            x,
            weight,
            bias,
            initial_states=initial[0] if initial else None,
            return_final_states=True,
            activation=activation,
        )
        return results if initial else results[:1]

    agree(values_and_gradients(ours, given), [w.float() for w in want])


def test_initial_states_of_the_convolution_are_zeros_by_default() -> None:
    x = torch.randn(2, 5, 7)
    weight = torch.randn(5, 4)
    given = torch.empty(2, 5, 3)
    want = causal_conv1d_fn(x, weight, initial_states=torch.zeros(2, 5, 3), activation="swish")
    assert torch.equal(causal_conv1d_fn(x, weight, activation="silu"), want)
    _, final = causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=given)
    assert final is given
    assert torch.equal(given, x[:, :, -3:])


# ---- in PyTorch ----


@pytest.mark.parametrize("form", ["NKL", "NGKL", "DK"])
def test_gradients_that_are_differentiated_again_are_computed_in_pytorch(form: str, fallbacks: Fallbacks) -> None:
    given = {name: t.requires_grad_() for name, t in operands(1, 4, 5, 3, form, torch.float64).items()}

    def scan(*each: Tensor) -> Any:
        return selective_scan_fn(**dict(zip(NAMES, each, strict=True)), delta_softplus=True, return_last_state=True)

    assert torch.autograd.gradgradcheck(scan, tuple(given.values()))
    taken = set(fallbacks.take())
    again = "selective_scan_fn: the gradient runs in PyTorch: the gradient will be differentiated again"
    assert again in taken


def test_functional_transforms_run_in_pytorch(fallbacks: Fallbacks) -> None:
    given = operands(2, 4, 5, 3)
    x = torch.randn(3, 2, 4, 5)
    weight = torch.randn(4, 4)
    want = torch.stack([selective_scan_fn(**(given | {"u": u}), delta_softplus=True) for u in x])
    got = torch.func.vmap(lambda u: selective_scan_fn(**(given | {"u": u}), delta_softplus=True))(x)
    agree([got], [want])
    convolved = torch.func.vmap(lambda x: causal_conv1d_fn(x, weight, activation="silu"))(x)
    agree([convolved], [torch.stack([causal_conv1d_fn(each, weight, activation="silu") for each in x])])
    reason = "runs in PyTorch: a transform of torch.func (vmap, grad, …) is active"
    assert fallbacks.take() == [f"selective_scan_fn {reason}", f"causal_conv1d_fn {reason}"]


def test_export_records_pytorchs_operations_and_compile_calls_the_kernels() -> None:
    class Model(torch.nn.Module):
        def forward(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> Any:
            x = causal_conv1d_fn(u, A, activation="silu")
            return selective_scan_fn(x + 1, delta, A, B, B, delta_softplus=True) + 1

    given = list(operands(2, 6, 9, 4).values())[:4]
    want = Model()(*given)
    exported = torch.export.export(Model(), tuple(given))
    agree([exported.module()(*given)], [want])
    agree([torch.compile(Model(), backend="eager")(*given)], [want])


def test_errors_name_the_argument() -> None:
    given = operands(2, 6, 9, 4)
    x = given["u"]
    weight = torch.randn(6, 4)

    def scan(**changed: Tensor) -> Any:
        return lambda: selective_scan_fn(**(given | changed))

    refused(
        (ValueError, scan(u=x[0]), "u is (6, 9): expected (batch, dim, L)"),
        (ValueError, scan(A=weight[1:]), "A is (5, 4): expected (6, N), for u (2, 6, 9)"),
        (ValueError, scan(B=x), "B is (2, 6, 9): expected (2, 4, 9), (2, groups, 4, 9)"),
        (ValueError, scan(C=torch.randn(2, 4, 4, 9)), "groups that divide 6"),
        (ValueError, scan(z=x[:1]), "z is (1, 6, 9): expected (2, 6, 9)"),
        (ValueError, scan(D=x[0, :5, 0]), "D is (5,): expected (6,)"),
        (TypeError, scan(A=given["A"].cfloat()), "an operand is complex"),
        (
            ValueError,
            lambda: selective_state_update(torch.zeros(2, 6, 4), x[0, 0], *given.values()),
            "state is (2, 6, 4)",
        ),
        (ValueError, lambda: causal_conv1d_fn(x, weight[1:]), "weight is (5, 4): expected (6, width)"),
        (ValueError, lambda: causal_conv1d_fn(x, weight, weight), "bias is (6, 4): expected (6,)"),
        (ValueError, lambda: causal_conv1d_fn(x, weight, activation="relu"), "activation is 'relu'"),
        (ValueError, lambda: causal_conv1d_fn(x, weight, seq_idx=x), "seq_idx is not supported"),
    )
