"""An existing model made faster in place."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import xrnn.torch
from tests.errors import one_line
from tests.torch.pairs import KINDS, agree, everything, pair


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.layers = nn.ModuleList([nn.LSTM(4, 5, batch_first=True), nn.GRU(5, 6, batch_first=True)])
        self.last = nn.Sequential(nn.ReLU(), nn.Linear(6, 2))
        self.same = self.layers[1]  # under two names

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x, _ = layer(x)
        return self.last(x)


def test_a_model_keeps_all_but_its_speed() -> None:
    torch.manual_seed(0)
    model, tokens = Tagger().eval(), torch.randint(11, (3, 7))
    calls: list[str] = []
    model.layers[0].register_forward_hook(lambda *_: calls.append("forward"))
    model.layers[1].register_full_backward_hook(lambda *_: calls.append("backward"))
    before, modules, parameters = model(tokens), list(model.modules()), list(model.parameters())
    text = repr(model)
    calls.clear()

    assert xrnn.torch.accelerate(model) == ["layers.0", "layers.1"]

    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model.same is model.layers[1]
    assert isinstance(model.same, xrnn.torch.GRU)
    assert not model.layers[0].training
    assert repr(model) == text
    after = model(tokens)
    agree([after], [before])
    after.sum().backward()
    assert calls == ["forward", "backward"]
    assert xrnn.torch.accelerate(model) == []  # nothing is left to do


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_itself(kind: str) -> None:
    theirs, _ = pair(kind, 3, 4)
    ours = copy.deepcopy(theirs)
    assert xrnn.torch.accelerate(ours) == [""]
    assert type(ours) is getattr(xrnn.torch, kind)
    x = torch.randn(5, 2, 3)
    agree(everything(ours, x), everything(theirs, x))


class Own(nn.LSTM):
    def forward(self, *arguments: Any) -> Any:
        return super().forward(*arguments)


def test_subclasses_and_what_has_no_kernel_are_left() -> None:
    patched = nn.GRU(3, 4)
    patched.forward = lambda x: x
    model = nn.ModuleList([Own(3, 4), nn.LSTM(3, 4, proj_size=2), nn.LSTMCell(3, 4), patched, nn.RNN(3, 4)])
    kinds = [type(module) for module in model]
    assert xrnn.torch.accelerate(model) == ["4"]
    assert [type(module) for module in model] == [*kinds[:4], xrnn.torch.RNN]


@pytest.mark.parametrize("kind", KINDS)
def test_parametrisations_are_kept(kind: str) -> None:
    torch.manual_seed(0)
    theirs, _ = pair(kind, 3, 4)
    parametrizations.weight_norm(theirs, "weight_hh_l0")
    ours = copy.deepcopy(theirs)
    other = copy.deepcopy(theirs)  # of the same class
    assert xrnn.torch.accelerate(ours) == [""]
    assert isinstance(ours, getattr(xrnn.torch, kind))
    assert not isinstance(other, getattr(xrnn.torch, kind))
    assert parametrize.is_parametrized(ours, "weight_hh_l0")
    x = torch.randn(5, 2, 3)
    agree(everything(ours, x), everything(theirs, x))
    parametrize.remove_parametrizations(ours, "weight_hh_l0")
    assert type(ours) is getattr(xrnn.torch, kind)
    agree([ours(x)[0]], [theirs(x)[0]])


def test_what_is_no_module_is_refused() -> None:
    with one_line(TypeError, "model is a Tensor", "expected a torch.nn.Module", "pass the model"):
        xrnn.torch.accelerate(torch.ones(3))
