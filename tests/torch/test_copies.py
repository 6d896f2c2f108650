"""Copies, state dicts and threads of modules on the kernels."""

from __future__ import annotations

import copy
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations

import xrnn.torch
from tests.torch.pairs import accelerated, agree, pair
from xrnn.torch.weights import WRAPPED


def given(kind: str, *sizes: int) -> Any:
    return getattr(xrnn.torch, kind)(*sizes)


@pytest.mark.parametrize("make", [given, accelerated])
def test_a_copy_has_weights_of_its_own(kind: str, make: Any) -> None:
    ours = make(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    before = ours(x)[0]
    for other in (copy.deepcopy(ours), through_a_file(ours)):
        assert type(other) is type(ours)
        assert xrnn.torch.explain(other) == {"": "kernels"}
        agree([other(x)[0]], [before])
        assert vars(other)[WRAPPED] is not vars(ours)[WRAPPED]
        with torch.no_grad():
            other.weight_hh_l0.zero_()
        agree([ours(x)[0]], [before])
        assert not torch.equal(other(x)[0], before)


def test_a_copy_has_no_wrapped_weights(kind: str) -> None:
    """A weight of the copy may later get the address of one of the original, with other values."""
    parametrised = accelerated(kind, 3, 4)
    parametrizations.orthogonal(parametrised, "weight_hh_l0")  # with a deepcopy of its own
    for module in (parametrised, given(kind, 3, 4)):
        module(torch.ones(2, 1, 3))
        assert vars(module)[WRAPPED] is not None
        other = copy.deepcopy(module)
        assert vars(other)[WRAPPED] is None
        other(torch.ones(2, 1, 3))
        assert vars(other)[WRAPPED] is not None


def test_a_shallow_copy_has_attributes_of_its_own(kind: str) -> None:
    """It shares the Parameters, and outlives the original."""
    ours = accelerated(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    want, other = ours(x)[0], copy.copy(ours)
    other.batch_first = True
    del ours
    agree([other(x.transpose(0, 1))[0].transpose(0, 1)], [want])
    assert vars(other)[WRAPPED] is not None


class Doubled:
    """Wraps a module's forward, as hooks of other libraries do."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *arguments: Any) -> Any:
        return 2 * self.forward(*arguments)[0]


def test_a_copy_keeps_a_forward_that_was_set_after_accelerate(kind: str) -> None:
    ours, x = accelerated(kind, 3, 4), torch.randn(5, 2, 3)
    ours.forward = Doubled(ours.forward)
    want = ours(x)
    for other in (copy.deepcopy(ours), through_a_file(ours)):
        agree([other(x)], [want])
        with torch.no_grad():
            other.weight_hh_l0.zero_()
        agree([ours(x)], [want])
        assert not torch.equal(other(x), want)
    assert xrnn.torch.accelerate(ours) == {"": "PyTorch: its forward was replaced"}
    assert xrnn.torch.restore(ours) == []


def test_attributes_copied_by_hand_are_not_the_copys_own(kind: str) -> None:
    ours, other = accelerated(kind, 3, 4), getattr(torch.nn, kind)(3, 4)
    vars(other).update(vars(ours))
    assert xrnn.torch.accelerate(other) == {"": "PyTorch: its forward was replaced"}


def through_a_file(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("make", [given, accelerated])
def test_replicas_in_threads(kind: str, make: Any) -> None:
    """As nn.DataParallel makes them: copies of the module whose weights are not Parameters, each in a thread."""
    theirs, _ = pair(kind, 3, 4)
    ours = make(kind, 3, 4)
    x, replicas = torch.randn(5, 2, 3), list[Any]()
    ours(x)
    for k in range(3):
        replica = ours._replicate_for_data_parallel()
        for name, parameter in ours.named_parameters():
            setattr(replica, name, parameter.detach() * (k + 1))
        replicas.append(replica)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda replica: replica(x)[0], replicas))
    for k, result in enumerate(results):
        theirs.load_state_dict({name: value * (k + 1) for name, value in ours.state_dict().items()})
        agree([result], [theirs(x)[0]])
    assert all(vars(replica)[WRAPPED] is not vars(ours)[WRAPPED] for replica in replicas)
