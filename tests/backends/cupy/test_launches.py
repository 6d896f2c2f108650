"""What a training step of each cell launches per time step, in the plain form and in the stepwise form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from unittest import mock

import pytest

from tests.backends.cupy.steps import RECURRENT, launched, taking
from tests.reference import CELLS
from tests.standin.counting import Counters
from xrnn.backends.cupy import CupyBackend

# The plain form, per time step: products, and all other launches, forward and backward. GRU's backward product copies
# an operand, the part of dz that Wh feeds. The heads are one product, which is then added to z or to dh.
PER_STEP: Final = {
    "rnn": ((1, 1), (1, 1)),
    "relu": ((1, 1), (1, 1)),
    "softplus": ((1, 1), (1, 1)),
    "leak": ((1, 4), (1, 3)),
    "leak by unit": ((1, 4), (1, 3)),
    "leaky relu": ((1, 4), (1, 3)),
    "leaky softplus": ((1, 4), (1, 3)),
    "current rnn": ((1, 5), (1, 6)),
    "current relu": ((1, 5), (1, 7)),
    "current softplus": ((1, 5), (1, 12)),
    "current heads": ((1, 6), (1, 7)),
    "trained leak": ((1, 4), (1, 8)),
    "lstm": ((1, 9), (1, 7)),
    "gru": ((1, 11), (1, 4)),
    "gru reset before": ((2, 12), (3, 8)),
    "leak heads": ((1, 5), (1, 4)),
    "rnn heads": ((1, 2), (1, 2)),
    "lstm heads": ((1, 11), (1, 8)),
    "gru heads": ((1, 12), (1, 4)),
    "min gru": ((0, 7), (0, 3)),
    "min gru positive": ((0, 14), (0, 3)),
    "min lstm": ((0, 20), (0, 3)),
    "min lstm positive": ((0, 27), (0, 3)),
    "slstm": ((1, 29), (1, 19)),
    "slstm sigmoid heads": ((1, 39), (1, 20)),
    "lru": ((0, 12), (0, 32)),
}
# With lengths: a copy for each state forward; backward two for each state, three if the cell has parameters of its own,
# and one that clears dz. The Elman cell has a loop of its own without lengths, in which dh[t] is not added to a running
# sum.
LENGTHS: Final = {
    **{cell: (len(case.states), (3 if case.own else 2) * len(case.states) + 1) for cell, case in CELLS.items()},
    "rnn": (1, 4),
    "relu": (1, 4),
    "softplus": (1, 4),
    "rnn heads": (1, 4),
}
STEPWISE: Final = (*RECURRENT, "relu", "leak by unit", "leaky relu", "trained leak", "rnn heads", "gru heads")


@pytest.fixture
def plain(gpu: CupyBackend) -> Iterator[CupyBackend]:
    """A backend whose recurrences take the plain form, with products that accumulate."""
    with mock.patch.object(CupyBackend, "_decide", return_value=None):
        yield gpu


def launches(counters: Counters) -> tuple[int, int]:
    """Products, and everything else."""
    return counters.products + counters.gemms, counters.kernels + counters.raw_kernels


def assert_per_step(
    backend: CupyBackend, cell: str, lengths: bool, expected: Sequence[tuple[int, int]], layouts: Any = None
) -> int:
    """Assert the launches of a step, forward and backward → the operands that its products copied."""
    counts = [launched(backend, cell, (T, 3, 4, 5), lengths=lengths, layouts=layouts) for T in (5, 6, 9, 25)]
    for T, found in zip((5, 6, 9, 25), counts, strict=True):
        for counters, first, (products, others) in zip(found, counts[0], expected, strict=True):
            base = launches(first)
            assert launches(counters) == (base[0] + (T - 5) * products, base[1] + (T - 5) * others)
    return sum(last.operand_copies - first.operand_copies for first, last in zip(counts[0], counts[1], strict=True))


def test_every_built_in_cell_is_counted() -> None:
    assert set(PER_STEP) == {name for name, case in CELLS.items() if case.built_in}


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("cell", PER_STEP)
def test_launches_per_time_step_of_the_plain_form(plain: CupyBackend, cell: str, lengths: bool) -> None:
    both = zip(PER_STEP[cell], LENGTHS[cell], strict=True)
    assert_per_step(plain, cell, lengths, [(products, others + lengths * more) for (products, others), more in both])


@pytest.mark.parametrize("layout", ["F", "strided"])
@pytest.mark.parametrize("cell", ["rnn", "relu"])
def test_a_plain_step_copies_no_weights(plain: CupyBackend, cell: str, layout: str) -> None:
    assert assert_per_step(plain, cell, False, PER_STEP[cell], ["C", "C", "C", "C", layout, "C", "C", "C"]) == 0


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("cell", STEPWISE)
def test_the_stepwise_form_is_a_product_and_a_kernel_a_step(gpu: CupyBackend, cell: str, lengths: bool) -> None:
    with (
        taking("stepwise"),
        mock.patch.object(gpu.selftest, "failure", return_value=(None, True)),
    ):  # the self-test waits
        assert assert_per_step(gpu, cell, lengths, [(1, 1), (1, 1)]) == 0


@pytest.mark.parametrize("cell", PER_STEP)
def test_launches_beside_the_loop_are_few(plain: CupyBackend, cell: str) -> None:
    """The input's product, the weights' gradients, the update: a number that T has no part in."""
    none = launched(plain, cell, (1, 3, 4, 5), lengths=False)
    products, others = (sum(pair) for pair in zip(*map(launches, none), strict=True))
    assert products <= 12
    most = 70 if cell == "lru" else 40  # the LRU computes λ from its parameters, and their gradients from that of λ
    assert others - sum(of_step for _, of_step in PER_STEP[cell]) <= most
