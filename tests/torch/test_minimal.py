"""xrnn.torch.MinGRU and MinLSTM: the kernels agree with PyTorch's operations, and with xrnn's layers."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import xrnn
import xrnn.torch
from tests.errors import one_line
from tests.torch.pairs import TOLERANCE, states_of
from xrnn.torch.not_in_pytorch import in_pytorch

KINDS = list(itertools.product((xrnn.torch.MinGRU, xrnn.torch.MinLSTM), ("linear", "positive")))
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "dtype": torch.float64},
    {"batch_first": True},
    {"bidirectional": True, "num_layers": 2, "dtype": torch.float64},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("kind", "candidate"), KINDS)
@pytest.mark.parametrize("form", ["padded", "one row", "packed", "packed, without states"])
def test_kernels_agree_with_pytorch(form: str, kind: Any, candidate: str, options: dict[str, Any]) -> None:
    module = kind(3, 5, candidate=candidate, **options)
    dtype = module.weight_ih_l0.dtype
    x = torch.randn((6, 4, 3), dtype=dtype, requires_grad=True)
    rows = None if form == "one row" else 6 if module.batch_first and form == "padded" else 4
    hx = states_of(module, rows).requires_grad_()

    def everything(run: Any) -> list[Any]:
        given: Any = x[:, 0] if form == "one row" else x
        if "packed" in form:
            given = pack_padded_sequence(x, torch.tensor([3, 6, 1, 5]), enforce_sorted=False)
        h, final = run(given, None if "without" in form else hx)
        h = h.data if "packed" in form else h
        weight = torch.arange(h.numel(), dtype=dtype).reshape(h.shape).sin()
        leaves = [x, hx, *module.parameters()]
        loss = (h * weight).sum() + (final**2).sum()
        return [h, final, *torch.autograd.grad(loss, leaves, allow_unused=True)]

    for ours, theirs in zip(everything(module), everything(lambda *call: in_pytorch(module, *call)), strict=True):
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(("kind", "candidate"), KINDS)
def test_it_is_a_layer_and_back(kind: Any, candidate: str) -> None:
    module = kind(3, 5, num_layers=2, candidate=candidate, bidirectional=True)
    layer = xrnn.from_torch(module, backend="numpy")
    x = torch.randn(6, 4, 3)
    with torch.no_grad():
        h = module(x)[0].numpy()
        np.testing.assert_allclose(layer(x.numpy())[0], h, rtol=1e-5, atol=1e-6)
        again = xrnn.to_torch(layer)
        assert type(again) is kind
        assert again.candidate == candidate
        for other in (again, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            np.testing.assert_array_equal(other(x)[0].numpy(), h)


def test_other_calls_run_in_pytorch(fallbacks: Any) -> None:
    module, x = xrnn.torch.MinGRU(3, 5), torch.randn(6, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        h, _ = module(x)
    torch.testing.assert_close(h.float(), module(x)[0], rtol=0.05, atol=0.05)
    (reason,) = fallbacks.take()
    assert "MinGRU runs in PyTorch: autocast is on" in reason


SHAPE = "the input has the shape {}: expected (time, batch, 3), or (time, 3), with at least one step"
WRONG: dict[str, tuple[tuple[int, ...], Any, type[Exception], str]] = {
    "input size": ((6, 4, 2), None, ValueError, SHAPE.format((6, 4, 2))),
    "one dimension": ((3,), None, ValueError, SHAPE.format((3,))),
    "no steps": ((0, 4, 3), None, ValueError, SHAPE.format((0, 4, 3))),
    "no steps of one row": ((0, 3), None, ValueError, SHAPE.format((0, 3))),
    "rows": ((6, 4, 3), torch.zeros(1, 1, 5), ValueError, "hx has the shape (1, 1, 5): expected (1, 4, 5)"),
    "layers": ((6, 4, 3), torch.zeros(3, 4, 5), ValueError, "hx has the shape (3, 4, 5): expected (1, 4, 5)"),
    "no layers": ((6, 4, 3), torch.zeros(4, 5), ValueError, "hx has the shape (4, 5): expected (1, 4, 5)"),
    "a batch for one row": ((6, 3), torch.zeros(1, 1, 5), ValueError, "hx has the shape (1, 1, 5): expected (1, 5)"),
    "the states of an LSTM": ((6, 4, 3), (torch.zeros(1, 4, 5),) * 2, TypeError, "hx is a tuple: expected a tensor"),
    "dtype": ((6, 4, 3), torch.zeros(1, 4, 5).double(), TypeError, "hx is torch.float64, the input torch.float32"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", [xrnn.torch.MinGRU, xrnn.torch.MinLSTM])
def test_wrong_calls_are_refused(kind: Any, wrong: str, fallbacks: Any) -> None:
    shape, hx, error, message = WRONG[wrong]
    with one_line(error, message):
        kind(3, 5)(torch.zeros(shape), hx)
    fallbacks.take()


def test_wrong_calls_with_other_axes_are_refused(fallbacks: Any) -> None:
    module = xrnn.torch.MinGRU(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    with one_line(ValueError, "the input has the shape (4, 0, 3): expected (batch, time, 3), or (time, 3), with"):
        module(torch.zeros(4, 0, 3))
    with one_line(ValueError, "hx has the shape (4, 6, 5): expected (4, 2, 5)"):
        module(torch.zeros(2, 6, 3), torch.zeros(4, 6, 5))
    packed = pack_padded_sequence(torch.zeros(2, 6, 3), torch.tensor([3, 6]), batch_first=True, enforce_sorted=False)
    with one_line(ValueError, "hx has the shape (4, 1, 5): expected (4, 2, 5)"):
        module(packed, torch.zeros(4, 1, 5))
    fallbacks.take()


@pytest.mark.parametrize("autocast", [False, True])
def test_tools_for_parameters(autocast: bool, fallbacks: Any) -> None:
    """All parameters have elements and gradients, on the kernels and in PyTorch's operations."""
    module = xrnn.torch.MinLSTM(3, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = module(torch.randn(6, 4, 3))[0].float().sum()
    first = torch.autograd.grad(loss, list(module.parameters()), create_graph=True)
    sum((g**2).sum() for g in first).backward()
    largest = max(float(p.grad.abs().max()) for p in module.parameters())
    assert float(torch.nn.utils.clip_grad_norm_(module.parameters(), 1, norm_type=torch.inf)) == largest > 0
    assert set(module.double().state_dict()) == set(torch.nn.GRU(3, 5).state_dict())
    assert {each.dtype for each in module.state_dict().values()} == {torch.float64}
    fallbacks.take()


@pytest.mark.parametrize("kind", [xrnn.torch.MinGRU, xrnn.torch.MinLSTM])
def test_second_derivatives(kind: Any, fallbacks: Any) -> None:
    module, x = kind(2, 3, dtype=torch.float64), torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: module(x)[0], x)
    assert fallbacks.take()


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_wrong_arguments_are_refused() -> None:
    with one_line(ValueError, "unknown candidate 'log': expected one of linear, positive"):
        xrnn.torch.MinGRU(3, 5, candidate="log")  # type: ignore[arg-type]
    with one_line(RuntimeError, "torch.jit.script got an xrnn.torch.MinLSTM: expected a module that PyTorch has too"):
        torch.jit.script(xrnn.torch.MinLSTM(3, 5))
