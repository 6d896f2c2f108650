"""Modules whose parameters are bfloat16, on the kernels; and which precision and instructions compute in bfloat16."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import xrnn.torch
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import accelerated, everything, pair, states_of, without_bfloat16
from xrnn import use_precision
from xrnn.backends.numpy import info

B16 = torch.bfloat16


def in_float32(operand: Any) -> Any:
    if isinstance(operand, PackedSequence):
        return operand._replace(data=operand.data.float())
    if isinstance(operand, tuple):
        return tuple(map(in_float32, operand))
    return None if operand is None else operand.float()


def near(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.dtype is want.dtype
    assert got.shape == want.shape
    got = got.detach().float()
    want = want.detach().float()
    assert float((got - want).norm() / want.norm()) < 0.03


@pytest.mark.parametrize("bidirectional", [False, True])
def test_values_and_gradients(kind: str, bidirectional: bool) -> None:
    """The kernels round less often than PyTorch, so they are nearer to float32. All dtypes are bfloat16."""
    theirs, ours = (m.bfloat16() for m in pair(kind, 8, 24, 2, bidirectional=bidirectional))
    exact = copy.deepcopy(theirs).float()
    x = torch.randn(7, 5, 8).to(B16)
    for given in (x, pack_padded_sequence(x, [7, 6, 3, 3, 1])):
        for hx in (None, states_of(theirs, 5)):
            got, want = everything(ours, given, hx), everything(theirs, given, hx)
            for one, other, true in zip(got, want, everything(exact, *map(in_float32, (given, hx))), strict=True):
                near(one, other)
                errors = [float((each.detach().float() - true.detach()).norm()) for each in (one, other)]
                assert errors[0] <= 1.5 * errors[1] + 1e-3
    with torch.inference_mode():
        near(ours(x)[0], theirs(x)[0])
    assert xrnn.torch.explain(ours) == {"": "kernels" + without_bfloat16()}


@pytest.mark.parametrize("option", ["freeze", "int8"])
def test_frozen_modules_notice_new_weights(kind: str, option: str) -> None:
    theirs, ours = (m.bfloat16() for m in pair(kind, 8, 24))
    says = xrnn.torch.accelerate(ours, **{option: True})
    assert says == {"": "kernels, frozen" + without_bfloat16() if option == "freeze" else "kernels, int8"}
    x = torch.randn(7, 5, 8).to(B16)
    with torch.inference_mode():
        near(ours(x)[0], theirs(x)[0])
    new = {name: value * 0.5 for name, value in theirs.state_dict().items()}
    for module in (theirs, ours):
        module.load_state_dict(new)
    with torch.inference_mode():
        near(ours(x)[0], theirs(x)[0])


def test_the_kernels_multiply_in_bfloat16(kind: str) -> None:
    """The same bits as a float32 module with the same weights, within `use_precision`."""
    ours = accelerated(kind, 40, 128)
    ours.bfloat16()
    wide = copy.deepcopy(ours).float()
    x = torch.randn(50, 16, 40).to(B16)
    with torch.inference_mode(), use_precision("bfloat16"):
        want = wide(x.float())[0].to(B16)
    with torch.inference_mode():
        assert torch.equal(ours(x)[0], want)


@pytest.mark.parametrize("autocast", [True, False])
def test_a_block_of_use_precision_has_precedence(kind: str, autocast: bool) -> None:
    ours = accelerated(kind, 40, 128)
    x = torch.randn(50, 16, 40)
    if not autocast:
        ours.bfloat16()
        x = x.to(B16)
    wide = copy.deepcopy(ours).float()
    with torch.no_grad():
        want = wide(x.float())[0]
        with torch.autocast("cpu", B16, enabled=autocast), use_precision("float32"):
            h = ours(x)[0]
            assert xrnn.torch.explain(ours) == {"": "kernels, products in float32: use_precision('float32')"}
    assert torch.equal(h, want.to(h.dtype))


def test_explain_says_where_the_cpu_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    module = accelerated("GRU", 3, 4)
    monkeypatch.setattr(info, "bfloat16_obstacle", info._no_bfloat16)
    monkeypatch.setattr(sys.modules["xrnn.torch.accelerate"], "bfloat16_obstacle", info._no_bfloat16)
    with torch.autocast("cpu", B16):
        (says,) = xrnn.torch.explain(module).values()
    assert says == f"kernels, products in float32: {info._no_bfloat16()}"
    assert xrnn.torch.explain(module) == {"": "kernels"}


@pytest.mark.parametrize("wrong", ["float32 input", "float32 state", "float32 weight"])
def test_mixed_dtypes_get_pytorchs_error(wrong: str, fallbacks: Fallbacks) -> None:
    errors = []
    for module in pair("GRU", 3, 4):
        module.bfloat16()
        x = torch.ones(5, 2, 3, dtype=B16)
        state = torch.zeros(1, 2, 4, dtype=B16)
        if wrong == "float32 input":
            x = x.float()
        elif wrong == "float32 state":
            state = state.float()
        else:
            module.weight_hh_l0 = nn.Parameter(module.weight_hh_l0.float())
        with pytest.raises((RuntimeError, ValueError)) as caught:
            module(x, state)
        errors.append((caught.type, str(caught.value)))
    assert errors[1] == errors[0]
    assert len(fallbacks.take()) == 1
