"""What a training step of each cell launches in its plain form: per time step a product and a few other kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pytest

from tests import standin as cp
from tests import standin_backend
from tests.reference import CELLS, problem
from tests.standin.counting import Counters, counted, no_waiting
from xrnn import SGD
from xrnn.backends.cupy import CupyBackend

# Per time step: products forward and backward, and all other launches forward and backward.
PER_STEP: Final = {
    "rnn": (1, 1, 1, 1),
    "relu": (1, 1, 1, 1),
    "leak": (1, 1, 4, 3),
    "leak by unit": (1, 1, 4, 3),
    "leaky relu": (1, 1, 4, 3),
    "lstm": (1, 1, 9, 7),
    "gru": (1, 1, 11, 4),
    "gru reset before": (2, 3, 12, 8),
    "peephole lstm": (1, 1, 22, 45),
    "min gru": (0, 0, 8, 12),
}
# With lengths: a copy for each state forward; backward two for each state, three if the cell has parameters of its own,
# and one that clears dz. The Elman cell has a loop of its own without lengths, in which dh[t] is not added to a running
# sum.
LENGTHS: Final = {
    **{cell: (len(case.states), (3 if case.own else 2) * len(case.states) + 1) for cell, case in CELLS.items()},
    "rnn": (1, 4),
    "relu": (1, 4),
}


@pytest.fixture
def backend() -> Iterator[CupyBackend]:
    with standin_backend.without_kernels() as backend:
        yield backend


def training_step(backend: CupyBackend, cell: str, T: int, *, lengths: bool) -> tuple[Counters, Counters]:
    """What the forward, and the backward with the update, launch; neither may wait or move anything."""
    p = problem(cell, (T, 3, 4, 5), "float32")
    layer: Any = p.layer(backend)
    x, initial, dstates = p.operands(backend)
    given = cp.asarray(np.array([0, T, 2])) if lengths else None
    optimizer = SGD([layer])
    with no_waiting():
        with counted() as forward:
            layer.forward(x, *initial, lengths=given)
        with counted() as backward:
            layer.backward(*dstates)
            optimizer.step()
    return forward, backward


def launches(counters: Counters) -> tuple[int, int]:
    """Products, and everything else."""
    assert counters.raw_kernels == 0
    return counters.products + counters.gemms, counters.kernels + counters.operand_copies


def test_every_registered_cell_is_counted() -> None:
    assert set(PER_STEP) == set(CELLS)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("cell", PER_STEP)
def test_launches_per_time_step(backend: CupyBackend, cell: str, lengths: bool) -> None:
    products_forward, products_backward, others_forward, others_backward = PER_STEP[cell]
    if lengths:
        others_forward += LENGTHS[cell][0]
        others_backward += LENGTHS[cell][1]
    counts = [training_step(backend, cell, T, lengths=lengths) for T in (5, 6, 9, 25)]
    for T, (forward, backward) in zip((5, 6, 9, 25), counts, strict=True):
        for found, first, product, others in (
            (forward, counts[0][0], products_forward, others_forward),
            (backward, counts[0][1], products_backward, others_backward),
        ):
            base = launches(first)
            assert launches(found) == (base[0] + (T - 5) * product, base[1] + (T - 5) * others)


@pytest.mark.parametrize("cell", PER_STEP)
def test_launches_beside_the_loop_are_few(backend: CupyBackend, cell: str) -> None:
    """The input's product, the weights' gradients, the update: a number that T has no part in."""
    none = training_step(backend, cell, 1, lengths=False)
    products, others = (sum(pair) for pair in zip(*map(launches, none), strict=True))
    assert products <= 12
    assert others - sum(PER_STEP[cell][2:]) <= 40
