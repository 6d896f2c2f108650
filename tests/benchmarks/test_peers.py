"""Each peer computes what the float64 reference says, on odd sizes."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.cases import GATES, OPERATIONS, Case, Problem, check
from benchmarks.peers import PEERS, build, load

NEEDS = {"torch": "torch", "onnxruntime": "onnxruntime", "jax-1": "jax", "jax-8": "jax", "xrnn.torch": "torch"}


def of_peer(peer: str) -> Any:
    """A test of one peer, where its library is installed."""
    return pytest.param(peer, marks=[pytest.mark.needs(NEEDS[peer], "bench")] if peer in NEEDS else [])


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("peer", [of_peer(peer) for peer in PEERS])
def test_peer_agrees_with_float64(peer: str, cell: str) -> None:
    compiled = "jax" in peer  # for seconds, and for each shape anew
    for sizes in ((7, 3, 5, 11), (1, 1, 4, 3))[: 1 if compiled else 2]:
        problem = Problem(Case(*sizes, cell=cell))
        calls = build(peer, problem, threads=1).calls
        checked = {name: check(name, call(), problem) for name, call in calls.items() if name in OPERATIONS}
        assert all(error < 1e-5 for error in checked.values())
        assert checked or (peer, cell != "rnn") == ("expression", True)
        if "train" in calls:  # a call leaves nothing behind that the next one would add to
            check("train", calls["train"](), problem)
    assert all(isinstance(fact, str) for fact in load(peer).about().values())
