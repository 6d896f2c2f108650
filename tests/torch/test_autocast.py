"""Autocast to bfloat16 on the CPU: the kernels run, with products in bfloat16; the dtypes are PyTorch's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import xrnn.torch
from tests.torch.pairs import pair
from xrnn import use_precision
from xrnn.torch.bfloat16 import _result_dtypes, lacks_lstm

B16, F32, F64 = torch.bfloat16, torch.float32, torch.float64
D, H = 4, 32


def outcome(
    module: Any, x: torch.Tensor, hx: Any, lengths: list[int] | None, grad: bool, autocast: bool = True
) -> list[torch.Tensor]:
    """h, the final states and, with `grad`, the gradients of x and of the parameters."""
    module.zero_grad()
    x = x.clone().requires_grad_(grad)
    with torch.set_grad_enabled(grad), torch.autocast("cpu", B16, enabled=autocast):
        h, final = module(x if lengths is None else pack_padded_sequence(x, lengths), hx)
    results = [h if lengths is None else h.data, *(final if isinstance(final, tuple) else [final])]
    if not grad:
        return results
    sum((each.float() ** 2).sum() for each in results).backward()
    return [*map(torch.Tensor.detach, results), x.grad, *(p.grad for p in module.parameters())]


def expected(theirs: Any, x: torch.Tensor, hx: Any, lengths: list[int] | None, grad: bool) -> list[torch.Tensor]:
    """PyTorch's outcome. Where it has no LSTM for this CPU: that in float32, and results in bfloat16."""
    try:
        return outcome(theirs, x, hx, lengths, grad)
    except RuntimeError as error:
        if not lacks_lstm(error):
            raise
    assert x.dtype is F32
    want = outcome(theirs, x, hx and tuple(state.float() for state in hx), lengths, grad, autocast=False)
    return [*(each.to(B16) for each in want[:3]), *want[3:]]


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
@pytest.mark.parametrize("lengths", [None, [6, 4, 1], [6, 6, 6]], ids=["padded", "packed", "equal"])
def test_values_gradients_and_dtypes(kind: str, lengths: list[int] | None) -> None:
    cases = itertools.product((1, 2), (False, True), (F32, B16), (None, F32, B16), (False, True))
    for layers, bidirectional, x_dtype, state_dtype, grad in cases:
        theirs, ours = pair(kind, D, H, layers, bidirectional=bidirectional)
        x = torch.randn(6, 3, D).to(x_dtype)
        hx = None
        if state_dtype is not None:
            hx = torch.randn(layers * (1 + bidirectional), 3, H).to(state_dtype)
            hx = (hx, hx / 2) if kind == "LSTM" else hx
        want, got = expected(theirs, x, hx, lengths, grad), outcome(ours, x, hx, lengths, grad)
        assert [each.dtype for each in got] == [each.dtype for each in want], (layers, x_dtype, state_dtype, grad)
        for one, other in zip(got, want, strict=True):
            assert float((one.float() - other.float()).norm() / other.float().norm()) < 0.03


def test_it_computes_as_use_precision_does(kind: str) -> None:
    """Also the gradients, although autocast has ended by then."""
    _, ours = pair(kind, 40, 128)
    x = torch.randn(50, 16, 40)
    got = outcome(ours, x, None, None, True)[-4:]
    with use_precision("bfloat16"):
        ours.zero_grad()
        h, final = ours(x)
        # PyTorch rounds these results, and so their gradients.
        dtypes = [each.dtype for each in outcome(ours, x, None, None, False)]
        results = [h, *(final if isinstance(final, tuple) else [final])]
        sum((each.to(dtype).float() ** 2).sum() for each, dtype in zip(results, dtypes, strict=True)).backward()
    for one, parameter in zip(got, ours.parameters(), strict=True):
        assert torch.equal(one, parameter.grad)


def test_float64_and_disabled_autocast_change_nothing(kind: str) -> None:
    _, ours = pair(kind, D, H)
    x = torch.randn(5, 2, D)
    with torch.autocast("cpu", B16), torch.autocast("cpu", enabled=False):
        assert torch.equal(ours(x)[0], ours(x.clone())[0])
        inside = ours(x)[0]
    assert torch.equal(inside, ours(x)[0])
    ours.double()
    with torch.autocast("cpu", B16):
        inside = ours(x.double())[0]
    assert torch.equal(inside, ours(x.double())[0])


def test_no_random_numbers_are_drawn(kind: str) -> None:
    _, ours = pair(kind, D, H, 2)
    before = torch.random.get_rng_state()
    with torch.autocast("cpu", B16):
        ours(torch.ones(5, 2, D))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_default_device(kind: str) -> None:
    """A program may make its tensors on another device by default."""
    _, ours = pair(kind, D, H)
    x = torch.randn(5, 2, D)
    _result_dtypes.cache_clear()  # it asks PyTorch once
    torch.set_default_device("meta")
    try:
        with torch.autocast("cpu", B16):
            h, _ = ours(x)
    finally:
        torch.set_default_device(None)
    assert h.device.type == "cpu"


@pytest.mark.parametrize("name", ["MinGRU", "MinLSTM", "SLSTM", "LRU"])
@pytest.mark.parametrize("x_dtype", [F32, B16])
def test_modules_that_pytorch_does_not_have(name: str, x_dtype: torch.dtype) -> None:
    """Values beside float32; the dtypes are those of the same module in PyTorch's operations."""
    from xrnn.torch.not_in_pytorch import in_pytorch

    module = getattr(xrnn.torch, name)(D, H, num_layers=2)
    x = torch.randn(6, 3, D).to(x_dtype)
    with torch.autocast("cpu", B16):
        h, final = module(x)
        expected, states = in_pytorch(module, x, None)
    assert h.dtype is expected.dtype
    for one, other in zip([h, *final], [expected, *states], strict=True):
        assert one.dtype is other.dtype
    torch.testing.assert_close(h.float(), module(x.float())[0], rtol=0.05, atol=0.05)
