"""chunk_retention and fused_recurrent_retention beside a textbook form in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.errors import refused
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import agree
from tests.torch.test_selective_scan import values_and_gradients
from xrnn.arrays.select import get_backend
from xrnn.torch import chunk_retention, fused_recurrent_retention


def textbook(q: Any, k: Any, v: Any, initial_state: Any, scale: float, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Sun et al., 2023: the recurrent form of retention, with the decays of their heads."""
    decay = 1 - 2.0 ** (-5 - torch.arange(q.shape[2], dtype=q.dtype))
    S = initial_state
    out = []
    times = range(q.shape[1])
    for t in reversed(times) if reverse else times:
        S = decay[:, None, None] * S + k[:, t, :, :, None] * v[:, t, :, None]
        out.append(scale * (S * q[:, t, :, :, None]).sum(2))
    return torch.stack(out[::-1] if reverse else out, dim=1), S


def operands(N: int, T: int, heads: int, K: int, V: int) -> dict[str, Tensor]:
    return {
        "q": torch.randn(N, T, heads, K),
        "k": torch.randn(N, T, heads, K),
        "v": torch.randn(N, T, heads, V),
        "initial_state": torch.randn(N, heads, K, V),
    }


def ours(q: Any, k: Any, v: Any, initial_state: Any, scale: float, reverse: bool = False) -> Any:
    if reverse:
        return fused_recurrent_retention(q, k, v, scale, initial_state, output_final_state=True, reverse=True)
    return chunk_retention(q, k, v, scale, initial_state, output_final_state=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [(2, 37, 6, 9, 5), (1, 1, 1, 1, 1), (3, 130, 4, 16, 34)])
def test_they_agree_with_the_textbook(sizes: tuple[int, ...], reverse: bool) -> None:
    given = operands(*sizes)
    in_float64 = {name: t.double() for name, t in given.items()}
    want = values_and_gradients(textbook, in_float64, 0.3, reverse)
    agree(values_and_gradients(ours, given, 0.3, reverse), [w.float() for w in want])
    agree(values_and_gradients(ours, in_float64, 0.3, reverse), want)


@pytest.mark.parametrize("retention", [chunk_retention, fused_recurrent_retention])
def test_operands_may_be_left_out(retention: Callable[..., Any]) -> None:
    given = operands(2, 9, 4, 16, 3)
    q, k, v = (given[name] for name in "qkv")
    want, state = textbook(q, k, v, torch.zeros(2, 4, 16, 3), 0.25)  # 0.25: 1 / √16
    out, none = retention(q, k, v)
    agree([out], [want])
    assert none is None
    assert out.is_contiguous()
    agree([retention(q, k, v, output_final_state=True)[1]], [state])
    parts = [retention(*(x[:, :4] for x in (q, k, v)), output_final_state=True)]
    parts.append(retention(*(x[:, 4:] for x in (q, k, v)), initial_state=parts[0][1]))
    agree([torch.cat([part[0] for part in parts], dim=1)], [want])
    half, last = retention(q.bfloat16(), k.bfloat16(), v.bfloat16(), output_final_state=True)
    assert half.dtype is torch.bfloat16
    assert last.dtype is torch.float32
    agree([half.float()], [want], factor=1000)


def test_states_may_be_transposed() -> None:
    given = operands(2, 9, 4, 3, 5)
    out, final = fused_recurrent_retention(**given, output_final_state=True, reverse=True)
    given["initial_state"] = given["initial_state"].mT
    got, transposed = fused_recurrent_retention(**given, output_final_state=True, reverse=True, state_v_first=True)
    assert final is not None
    assert transposed is not None
    assert torch.equal(got, out)
    assert torch.equal(transposed, final.mT)


@pytest.mark.parametrize("retention", [chunk_retention, fused_recurrent_retention])
@pytest.mark.parametrize("sizes", [(0, 4, 2, 3, 5), (2, 0, 2, 3, 5), (2, 4, 0, 3, 5), (2, 4, 2, 0, 5), (2, 4, 2, 3, 0)])
def test_sizes_of_0(retention: Callable[..., Any], sizes: tuple[int, ...], fallbacks: Fallbacks) -> None:
    N, T, heads, K, V = sizes
    given = {name: t.requires_grad_() for name, t in operands(*sizes).items()}
    out, final = retention(**given, output_final_state=True)
    assert out.shape == (N, T, heads, V)
    assert final.shape == (N, heads, K, V)
    assert not out.any()
    (out.sum() + final.sum()).backward()
    assert given["initial_state"].grad is not None
    assert set(fallbacks.take()) == {f"{retention.__name__} runs in PyTorch: an operand is empty"}


def test_they_run_on_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    backend: Any = type(get_backend("numpy"))
    for name in ("matrix_memory_forward", "matrix_memory_backward"):
        original = getattr(backend, name)

        def counted(self: Any, *arguments: Any, _name: str = name, _original: Any = original) -> Any:
            calls.append(_name)
            return _original(self, *arguments)

        monkeypatch.setattr(backend, name, counted)
    for retention in (chunk_retention, fused_recurrent_retention):
        given = {name: t.requires_grad_() for name, t in operands(2, 9, 4, 3, 2).items()}
        retention(**given)[0].sum().backward()
    assert calls == ["matrix_memory_forward", "matrix_memory_backward"] * 2


def test_gradients_that_are_differentiated_again_are_computed_in_pytorch(fallbacks: Fallbacks) -> None:
    given = {name: t.double().requires_grad_() for name, t in operands(1, 4, 2, 3, 2).items()}
    assert torch.autograd.gradgradcheck(lambda q, k, v, state: ours(q, k, v, state, 0.5), tuple(given.values()))
    again = "chunk_retention: the gradient runs in PyTorch: the gradient will be differentiated again"
    assert again in set(fallbacks.take())


def test_compile_leaves_them_out_of_its_graphs() -> None:
    q, k, v, _ = operands(2, 9, 4, 3, 2).values()
    compiled = torch.compile(lambda q, k, v: 2 * chunk_retention(q, k, v)[0], backend="eager")
    agree([compiled(q, k, v)], [2 * chunk_retention(q, k, v)[0]])


def test_errors_name_the_argument() -> None:
    given = operands(2, 9, 6, 5, 3)

    def retention(function: Callable[..., Any] = chunk_retention, **changed: Any) -> Any:
        return lambda: function(**(given | changed))

    refused(
        (ValueError, retention(q=given["q"][0]), "q is (9, 6, 5): expected four axes, (batch, T, heads, size)"),
        (
            ValueError,
            retention(fused_recurrent_retention, v=given["v"][0], reverse=True),
            "v is (9, 6, 3): expected four",
        ),
        (ValueError, retention(k=given["k"][:, :8]), "k is (2, 8, 6, 5): expected (2, 9, 6, 5)"),
        (ValueError, retention(v=given["v"][:, :8]), "v is (2, 8, 6, 3): expected (2, 9, 6, 3)"),
        (ValueError, retention(initial_state=torch.zeros(2, 6, 3, 5)), "initial_state is (2, 6, 3, 5): expected"),
        (ValueError, retention(cu_seqlens=torch.tensor([0, 9])), "cu_seqlens is not supported"),
        (ValueError, retention(head_first=True), "head_first=True is not supported: pass x.transpose(1, 2)"),
        (TypeError, retention(q=given["q"].int()), "q holds torch.int32, but `out` has its dtype"),
        (TypeError, retention(v=given["v"].cfloat()), "an operand is complex"),
        (
            TypeError,
            retention(q=given["q"].numpy()),
            "q is a ndarray: expected a tensor; for an array, torch",
        ),
        (TypeError, retention(fused_recurrent_retention, v=given["v"].tolist(), reverse=True), "v is a list: expected"),
        (
            ValueError,
            retention(fused_recurrent_retention, state_v_first=True),
            "initial_state is (2, 6, 5, 3): expected (2, 6, 3, 5)",
        ),
    )
