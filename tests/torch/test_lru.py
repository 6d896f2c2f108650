"""xrnn.torch.LRU: the kernels agree with xrnn.LRU and with PyTorch's operations."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import xrnn
from tests.errors import one_line
from xrnn.torch import LRU
from xrnn.torch.lru import in_pytorch


def made(**options: Any) -> Any:
    torch.manual_seed(0)
    return LRU(3, 4, dtype=torch.float64, **options)


def test_agrees_with_the_layer_and_with_pytorch() -> None:
    module = made()
    x, hx = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 2, 3), (1, 2, 8)))
    h, final = module(x, hx)
    assert torch.equal(final, h[-1:])
    dh = torch.randn_like(h)
    ours = torch.autograd.grad(h, [x, hx, *module.parameters()], dh)
    expected = in_pytorch(x, hx[0], *module.parameters())
    for got, want in zip(ours, torch.autograd.grad(expected, [x, hx, *module.parameters()], dh), strict=True):
        assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    W, *others = (p.detach().numpy() for p in module.parameters())
    layer = xrnn.LRU(W.T, np.empty((8, 0)), *others)
    assert_allclose(layer(x.detach().numpy(), hx.detach().numpy()[0]), expected.detach(), rtol=0, atol=1e-13)
    with torch.no_grad():
        assert torch.equal(module(x, hx)[0], h)
    batch_first = made(batch_first=True)
    assert torch.equal(batch_first(x.transpose(0, 1), hx)[0].transpose(0, 1), h)


def test_derivatives(fallbacks: Any) -> None:
    module, x = made(), torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Any, *params: Any) -> Any:
        return torch.func.functional_call(module, dict(zip(dict(module.named_parameters()), params, strict=True)), (x,))

    arguments = (x, *(p.detach().clone().requires_grad_() for p in module.parameters()))
    assert torch.autograd.gradcheck(run, arguments)
    assert not fallbacks.take()
    assert torch.autograd.gradgradcheck(run, arguments)
    assert set(fallbacks.take()) == {"LRU: the gradient runs in PyTorch: the gradient will be differentiated again"}
    frozen = copy.deepcopy(module).requires_grad_(False)
    frozen(x)[0].sum().backward()
    assert x.grad is not None
    assert frozen.nu.grad is None


def test_other_dtypes_run_in_pytorch(fallbacks: Any) -> None:
    module, x = made(), torch.randn(4, 2, 3)
    h, _ = module.to(torch.bfloat16)(x.bfloat16())
    assert h.dtype is torch.bfloat16
    assert fallbacks.take() == ["LRU runs in PyTorch: no kernel computes in torch.bfloat16"]


def test_a_changed_weight_is_noticed() -> None:
    module, x = made(), torch.randn(4, 2, 3, dtype=torch.float64)
    h, _ = module(x)
    with torch.no_grad():
        module.nu += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        h.sum().backward()


def test_wrong_arguments() -> None:
    module, x = made(), torch.randn(4, 2, 3, dtype=torch.float64)
    for wrong in (x[0], x[..., :2], x[:0]):
        with one_line(ValueError, "the input has the shape", "expected (time, batch, 3)"):
            module(wrong)
    with one_line(ValueError, "hx has the shape (2, 8)", "expected (1, 2, 8)"):
        module(x, torch.zeros(2, 8, dtype=torch.float64))
    with one_line(TypeError, "hx is a tuple: expected a tensor of shape (1, 2, 8)"):
        module(x, (torch.zeros(1, 2, 8),))
    with one_line(TypeError, "hx is torch.float32, the input torch.float64", "use hx.to(input.dtype)"):
        module(x, torch.zeros(1, 2, 8))
    with one_line(TypeError, "PackedSequence: expected a tensor"):
        module(torch.nn.utils.rnn.pack_padded_sequence(x, [4, 4]))
    with one_line(ValueError, "r_max is 2.0: expected a number in (0, 1]"):
        LRU(3, 4, r_max=2)
