"""Copies, files and threads."""

from __future__ import annotations

import copy
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations

import xrnn.torch
from tests.torch.pairs import KINDS, agree, everything, pair
from xrnn.torch.weights import WRAPPED


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_has_weights_of_its_own(kind: str) -> None:
    _, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    before = ours(x)[0]
    for other in (copy.deepcopy(ours), through_a_file(ours)):
        assert type(other) is type(ours)
        agree([other(x)[0]], [before])
        with torch.no_grad():
            other.weight_hh_l0.zero_()
        agree([ours(x)[0]], [before])
        assert not torch.equal(other(x)[0], before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_has_nothing_wrapped(kind: str) -> None:
    """Where a weight of the original lay, one of the copy may come to lie later on, with other values."""
    theirs, _ = pair(kind, 3, 4)
    parametrizations.orthogonal(theirs, "weight_hh_l0")  # with a deepcopy of its own
    xrnn.torch.accelerate(theirs)
    for module in (theirs, pair(kind, 3, 4)[1]):
        module(torch.ones(2, 1, 3))
        assert vars(module)[WRAPPED] is not None
        assert vars(copy.deepcopy(module))[WRAPPED] is None


def through_a_file(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_goes_both_ways(kind: str) -> None:
    theirs, ours = pair(kind, 3, 4, 2)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file))
    with pytest.raises(RuntimeError, match="Missing key"):
        ours.load_state_dict({"weight_ih_l0": torch.ones(1)})


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_share_a_module(kind: str) -> None:
    theirs, ours = pair(kind, 3, 8, 2)
    inputs = [torch.randn(20, 2, 3) for _ in range(8)]
    want = [everything(theirs, x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(lambda x: everything(ours, x), inputs), want, strict=True):
            agree(got, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_in_threads(kind: str) -> None:
    """As nn.DataParallel makes them: copies of the module whose weights are no Parameters, each in a thread."""
    theirs, ours = pair(kind, 3, 4)
    x = torch.randn(5, 2, 3)
    want = everything(theirs, x)[0]
    ours(x)
    replicas = []
    for _ in range(3):
        replica = ours._replicate_for_data_parallel()
        for name, parameter in ours.named_parameters():
            setattr(replica, name, parameter.detach().clone())
        replicas.append(replica)
    with ThreadPoolExecutor(3) as pool:
        agree(list(pool.map(lambda m: m(x)[0], replicas)), [want] * 3)
    assert isinstance(ours, getattr(xrnn.torch, kind))
