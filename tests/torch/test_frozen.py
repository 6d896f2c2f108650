"""accelerate(model, freeze=True) and int8=True: inference that keeps what the kernels make of the weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import xrnn.torch
from tests.errors import one_line
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import agree, pair, states_of
from xrnn import get_backend
from xrnn.torch.weights import WRAPPED

INT8_ERROR = 0.05  # of h, which is at most 1


def frozen(module: Any, **options: bool) -> Any:
    assert xrnn.torch.accelerate(module, **options) == {"": "kernels, int8" if "int8" in options else "kernels, frozen"}
    return module


def results(module: Any, x: Any, hx: Any = None) -> list[torch.Tensor]:
    h, final = module(x, hx)
    return [h if isinstance(h, torch.Tensor) else h.data, *(final if isinstance(final, tuple) else [final])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_are_pytorchs(kind: str, dtype: torch.dtype) -> None:
    theirs, _ = pair(kind, 3, 20, 2, bidirectional=True, dtype=dtype)
    ours = frozen(copy.deepcopy(theirs), freeze=True)
    x = torch.randn(5, 3, 3, dtype=dtype)
    hx = states_of(theirs, 3)
    with torch.no_grad():
        for given in (x, x[:1], pack_padded_sequence(x, [5, 3, 1]), x):
            agree(results(ours, given, hx), results(theirs, given, hx))


def test_the_packed_weights_are_made_once(kind: str) -> None:
    ours = frozen(getattr(nn, kind)(3, 20), freeze=True)
    x = torch.randn(5, 3, 3)
    with torch.no_grad():
        ours(x)
        made = vars(ours)[WRAPPED].directions[0].frozen.made
        assert made is not None
        ours(x)
        assert vars(ours)[WRAPPED].directions[0].frozen.made is made


@pytest.mark.parametrize("int8", [False, True])
def test_new_weights_are_noticed(kind: str, int8: bool) -> None:
    theirs, _ = pair(kind, 3, 20)
    ours = frozen(copy.deepcopy(theirs), **({"int8": True} if int8 else {"freeze": True}))
    x = torch.randn(5, 3, 3)
    new = {name: value * 0.5 for name, value in theirs.state_dict().items()}

    def in_place(module: Any) -> None:
        with torch.no_grad():
            module.weight_hh_l0.mul_(-1)

    def by_an_optimizer(module: Any) -> None:
        for p in module.parameters():
            p.grad = torch.full_like(p, 0.1)
        torch.optim.SGD(module.parameters(), lr=1.0).step()

    for change in (
        lambda module: None,
        lambda module: module.load_state_dict(new),
        in_place,
        by_an_optimizer,
        lambda module: setattr(module, "bias_ih_l0", nn.Parameter(torch.ones_like(module.bias_ih_l0))),
    ):
        change(theirs)
        change(ours)
        with torch.no_grad():
            got = ours(x)[0]
            want = theirs(x)[0]
        assert float((got - want).abs().max()) < (INT8_ERROR if int8 else 2e-6)


def test_a_frozen_module_refuses_to_train(kind: str) -> None:
    model = nn.ModuleDict({"rnn": getattr(nn, kind)(3, 4, 2)})
    assert xrnn.torch.accelerate(model, freeze=True) == {"rnn": "kernels, frozen"}
    x = torch.randn(5, 2, 3)
    h, _ = model["rnn"](x)
    assert h.requires_grad  # no silent loss of the gradient
    with one_line(RuntimeError, "backward of a frozen", "call xrnn.torch.accelerate(model), without freeze"):
        h.sum().backward()
    assert xrnn.torch.accelerate(model) == {"rnn": "kernels"}
    model["rnn"](x)[0].sum().backward()
    assert model["rnn"].weight_hh_l0.grad is not None
    xrnn.torch.accelerate(model, int8=True)
    xrnn.torch.restore(model)
    model["rnn"](x)[0].sum().backward()
    assert set(vars(model["rnn"])) == set(vars(getattr(nn, kind)(3, 4, 2)))


def test_int8_runs_the_kernel_of_8_bits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, _ = pair(kind, 3, 40, 2, bidirectional=True)
    ours = frozen(copy.deepcopy(theirs), int8=True)
    x = torch.randn(6, 3, 3)
    hx = states_of(theirs, 3)
    ran = list[str]()
    forward = get_backend("numpy").int8_forward

    def noting(cell: Any, inputs: Any) -> Any:
        ran.append(cell.name)
        return forward(cell, inputs)

    monkeypatch.setattr(get_backend("numpy"), "int8_forward", noting)
    with torch.inference_mode():
        for given in (x, x[:1], pack_padded_sequence(x, [6, 2, 1])):
            for got, want in zip(results(ours, given, hx), results(theirs, given, hx), strict=True):
                assert got.shape == want.shape
                assert float((got - want).abs().max()) < INT8_ERROR
    assert len(ran) == 12


def test_int8_as_quantize_makes_them(kind: str) -> None:
    module = getattr(nn, kind)(3, 40)
    layer = xrnn.quantize(xrnn.from_torch(module, backend="numpy"))
    x = torch.randn(6, 3, 3)
    with torch.no_grad():
        h, _ = frozen(module, int8=True)(x)
    found = layer(x.numpy())
    assert torch.equal(h, torch.from_numpy(found[0] if isinstance(found, tuple) else found))


def test_weights_that_8_bits_cannot_hold_run_in_pytorch(fallbacks: Fallbacks) -> None:
    double = nn.GRU(3, 4).double()
    infinite = nn.GRU(3, 4)
    with torch.no_grad():
        infinite.weight_hh_l0[0, 0] = float("inf")
    for module, why in ((double, "made of float32 or bfloat16 weights"), (infinite, "NaN or infinite")):
        (says,) = xrnn.torch.accelerate(module, int8=True).values()
        assert says.startswith("PyTorch: ")
        assert why in says
        with torch.no_grad():
            module(torch.ones(2, 1, 3, dtype=module.weight_hh_l0.dtype))
        (said,) = fallbacks.take()
        assert why in said


def test_inference_tensors_run_in_pytorch(fallbacks: Fallbacks) -> None:
    """PyTorch counts no changes of such weights."""
    with torch.inference_mode():
        module = nn.GRU(3, 4)
        (says,) = xrnn.torch.accelerate(module, freeze=True).values()
        assert "outside of torch.inference_mode" in says
        module(torch.ones(2, 1, 3))
    assert len(fallbacks.take()) == 1


def test_modules_of_xrnn_torch_and_copies_are_frozen(kind: str) -> None:
    _, module = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        want = module(x)[0]
        other = copy.deepcopy(frozen(module, freeze=True))
        assert xrnn.torch.explain(other) == {"": "kernels, frozen"}
        assert torch.equal(other(x)[0], want)
    assert xrnn.torch.accelerate(other) == {"": "kernels"}


@pytest.mark.parametrize("name", ["MinGRU", "MinLSTM", "SLSTM", "LRU"])
@pytest.mark.parametrize("int8", [False, True])
def test_cells_that_pytorch_does_not_have(name: str, int8: bool) -> None:
    module = getattr(xrnn.torch, name)(3, 4)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        want = module(x)[0]
        frozen(module, **({"int8": True} if int8 else {"freeze": True}))
        got = module(x)[0]
    assert float((got - want).abs().max() / want.abs().max()) < (INT8_ERROR if int8 else 1e-6)
