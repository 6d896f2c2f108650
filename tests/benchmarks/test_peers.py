"""Each peer agrees with the float64 reference, on odd sizes."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from benchmarks.cases import GATES, Case, Problem, check
from benchmarks.peers import PEERS, build, load
from benchmarks.worker import CHECKED

LIBRARIES = ("torch", "onnxruntime", "jax", "reservoirpy")

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def of_peer(peer: str, cell: str) -> Any:
    """A test of one peer and cell, if its library is installed."""
    marks = [pytest.mark.needs(library, "bench") for library in LIBRARIES if library in peer]
    if peer == "jax-8" and cell != "rnn":  # the code of jax-1, which takes up to ten times as long to compile
        marks.append(pytest.mark.proof)
    return pytest.param(peer, cell, marks=[needs_gcc] if peer == "bare-read" else marks)


# The cells of peers that do not have all of them, and the peers that support lengths.
CELLS = {
    "torch": {"rnn", "lstm", "gru"},
    "xrnn.torch": {"rnn", "lstm", "gru"},
    "torch-bfloat16": {"rnn", "lstm", "gru"},
    "xrnn.torch-bfloat16": {"rnn", "lstm", "gru"},
    "torch-minimal": {"min-gru", "min-lstm", "slstm", "lru"},
    "onnxruntime": {"rnn", "lstm", "gru"},
    "reservoirpy": {"leak"},
    "bare-read": set(),
    "numpy": {"rnn", "lstm", "gru", "leak"},
    "jax-1": {"rnn", "lstm", "gru", "leak", "min-gru", "min-lstm", "slstm", "lru"},
    "jax-8": {"rnn", "lstm", "gru", "leak", "min-gru", "min-lstm", "slstm", "lru"},
    "jax-associative": {"min-gru", "min-lstm", "lru"},
}
LENGTHS = {"torch", "torch-bfloat16", "onnxruntime", *(peer for peer in PEERS if peer.startswith("xrnn"))}


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # in ReservoirPy, while it is compiled
@pytest.mark.parametrize(("peer", "cell"), [of_peer(peer, cell) for peer in PEERS for cell in GATES])
def test_peer_agrees_with_float64(peer: str, cell: str) -> None:
    batch = 1 if peer == "reservoirpy" else 3
    cases = [Case(7, batch, 5, 11, cell=cell)]
    if "jax" not in peer:  # JAX compiles for seconds, for each shape
        cases += [Case(1, 1, 4, 3, cell=cell), Case(9, 6, 5, 11, cell=cell, ragged=True)]
    for case in cases:
        problem = Problem(case)
        calls = build(peer, problem, threads=1).calls
        tolerance = PEERS[peer].tolerance
        checked = {name: check(name, call(), problem, tolerance) for name, call in calls.items() if name in CHECKED}
        assert all(error < tolerance / 2 for error in checked.values())
        assert bool(checked) == (cell in CELLS.get(peer, GATES) and (not case.ragged or peer in LENGTHS))
        if "train" in calls:  # gradients do not accumulate from call to call
            check("train", calls["train"](), problem, tolerance)
    assert all(isinstance(fact, str) for fact in load(peer).about().values())


@needs_gcc
def test_the_bare_read_reads_every_weight() -> None:
    problem = Problem(Case(7, 3, 5, 11))
    Wx, Wh = (W.sum(dtype="float64") for W in problem.weights[:2])
    calls = build("bare-read", problem, threads=1).calls
    assert np.float32(1e-45) * np.float32(1) > 0  # loading it leaves subnormal numbers as they are
    assert calls["read step"]() == pytest.approx(Wx + Wh, abs=1e-4)
    assert calls["read forward"]() == pytest.approx(Wx + 7 * Wh, abs=1e-3)


@pytest.mark.parametrize("case", [Case(9, 6, 5, 11, cell="gru", ragged=True), Case(9, 6, 5, 11, cell="leak")], ids=str)
def test_the_base_of_a_case_is_built_beside_it(case: Case) -> None:
    assert case.base
    calls, base = build("xrnn", Problem(case), threads=1).calls, Problem(case.base)
    for operation in ("forward", "train"):
        check(operation, calls[f"base {operation}"](), base)
