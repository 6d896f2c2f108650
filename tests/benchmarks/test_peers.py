"""Each peer computes what the float64 reference says, on odd sizes."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.cases import OPERATIONS, Case, Problem, check
from benchmarks.peers import PEERS, build, load

NEEDS = {"torch": "torch", "onnxruntime": "onnxruntime", "jax-1": "jax", "jax-8": "jax"}


def of_peer(peer: str) -> Any:
    """A test of one peer, where its library is installed."""
    return pytest.param(peer, marks=[pytest.mark.needs(NEEDS[peer], "bench")] if peer in NEEDS else [])


@pytest.mark.parametrize("peer", [of_peer(peer) for peer in PEERS])
def test_peer_agrees_with_float64(peer: str) -> None:
    problem = Problem(Case(T=7, N=3, D=5, H=11))
    built = build(peer, problem, threads=1)
    checked = {
        operation: check(operation, call(), problem)
        for operation, call in built.calls.items()
        if operation in OPERATIONS
    }
    assert "step" in checked
    assert all(error < 1e-5 for error in checked.values())
    assert all(isinstance(fact, str) for fact in load(peer).about().values())
