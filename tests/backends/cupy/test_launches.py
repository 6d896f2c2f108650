"""What a training step of each cell launches per time step, in the plain form and in the stepwise form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from unittest import mock

import pytest

from tests import standin_backend
from tests.backends.cupy.steps import launched, taking
from tests.reference import CELLS
from tests.standin.counting import Counters
from xrnn.backends.cupy import CupyBackend

# The plain form, per time step: products forward and backward, and all other launches forward and backward. GRU's
# backward product copies an operand, the part of dz that Wh feeds.
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
STEPWISE: Final = ("rnn", "relu", "leak", "leak by unit", "leaky relu", "lstm", "gru")


@contextmanager
def in_the_plain_form() -> Iterator[CupyBackend]:
    """A backend whose recurrences take the plain form, with products that accumulate."""
    with standin_backend.small() as backend, mock.patch.object(CupyBackend, "_decide", return_value=None):
        yield backend


def launches(counters: Counters) -> tuple[int, int]:
    """Products, and everything else."""
    return counters.products + counters.gemms, counters.kernels + counters.raw_kernels


def test_every_registered_cell_is_counted() -> None:
    assert set(PER_STEP) == set(CELLS)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("cell", PER_STEP)
def test_launches_per_time_step_of_the_plain_form(cell: str, lengths: bool) -> None:
    products_forward, products_backward, others_forward, others_backward = PER_STEP[cell]
    if lengths:
        others_forward += LENGTHS[cell][0]
        others_backward += LENGTHS[cell][1]
    with in_the_plain_form() as backend:
        assert_per_step(
            backend, cell, lengths, (products_forward, others_forward), (products_backward, others_backward)
        )


@pytest.mark.parametrize("layout", ["F", "strided"])
@pytest.mark.parametrize("cell", ["rnn", "relu"])
def test_a_plain_step_copies_no_weights(cell: str, layout: str) -> None:
    with in_the_plain_form() as backend:
        assert assert_per_step(backend, cell, False, (1, 1), (1, 1), ["C", "C", "C", "C", layout, "C", "C", "C"]) == 0


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("cell", STEPWISE)
def test_the_stepwise_form_is_a_product_and_a_kernel_a_step(cell: str, lengths: bool) -> None:
    with standin_backend.small() as backend, taking("stepwise"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(backend.selftest, "failure", lambda *_: (None, True))  # which waits
        copies = assert_per_step(backend, cell, lengths, (1, 1), (1, 1))
    assert copies == 0


def assert_per_step(
    backend: CupyBackend,
    cell: str,
    lengths: bool,
    forward: tuple[int, int],
    backward: tuple[int, int],
    layouts: Sequence[str] | None = None,
) -> int:
    """→ the operands that a step's products copied, forward and backward."""
    counts = [launched(backend, cell, (T, 3, 4, 5), lengths=lengths, layouts=layouts) for T in (5, 6, 9, 25)]
    for T, found in zip((5, 6, 9, 25), counts, strict=True):
        for counters, first, (products, others) in zip(found, counts[0], (forward, backward), strict=True):
            base = launches(first)
            assert launches(counters) == (base[0] + (T - 5) * products, base[1] + (T - 5) * others)
    return sum(last.operand_copies - first.operand_copies for first, last in zip(counts[0], counts[1], strict=True))


@pytest.mark.parametrize("cell", PER_STEP)
def test_launches_beside_the_loop_are_few(cell: str) -> None:
    """The input's product, the weights' gradients, the update: a number that T has no part in."""
    with in_the_plain_form() as backend:
        none = launched(backend, cell, (1, 3, 4, 5), lengths=False)
    products, others = (sum(pair) for pair in zip(*map(launches, none), strict=True))
    assert products <= 12
    assert others - sum(PER_STEP[cell][2:]) <= 40
